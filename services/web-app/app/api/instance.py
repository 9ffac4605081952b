"""What one web instance consists of, and how a request gets at it."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.requests import HTTPConnection

from app.api.readiness import Readiness
from app.config import Settings
from app.realtime.service import Realtime


@dataclass(frozen=True, eq=False)
class Instance:
    """The parts that requests share. Made when the server starts, kept in `app.state.instance`."""

    settings: Settings
    sessions: async_sessionmaker[AsyncSession]
    realtime: Realtime
    readiness: Readiness
    door: asyncio.Semaphore  # handshakes that may use the database at a time
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def get_instance(connection: HTTPConnection) -> Instance:
    """Return the instance that serves this request or socket."""
    instance = connection.app.state.instance
    assert isinstance(instance, Instance)  # noqa: S101  (set before the first request)
    return instance


CurrentInstance = Annotated[Instance, Depends(get_instance)]
