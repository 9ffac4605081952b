"""Connections to PostgreSQL: bounded waits, UTC, JSON by orjson, and the epoch checked on every new one."""

import re
from typing import Any

import orjson
from sqlalchemy import Engine, ExceptionContext, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from app.config import Settings
from app.db import timeline
from app.db.outage import READ_ONLY

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_SESSION_SETTINGS = (
    "-c timezone=UTC -c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s"
    # Statistics of a table with one row are never taken, so the log's reads look large enough to be compiled first:
    # that takes a hundred times as long as the read.
    " -c jit=off"
)


def dump_json(value: Any) -> str:  # noqa: ANN401  (anything that JSON can say)
    """Return `value` as JSON that jsonb accepts: PostgreSQL text cannot hold a NUL, so they are left out."""
    text = orjson.dumps(value).decode()
    return _NUL.sub(r"\1", text) if "\\u0000" in text else text


def connect_arguments() -> dict[str, Any]:
    """Return what every connection is made with: bounded waits, UTC, and a dead link noticed within seconds."""
    return {
        "options": _SESSION_SETTINGS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "json_serializer": dump_json,
        "json_deserializer": orjson.loads,
        "pool_size": settings.database_pool_size,
        "max_overflow": 0,
        "pool_timeout": 10,
        "pool_pre_ping": True,
        "hide_parameters": True,  # an error in the log shows no values
        "connect_args": connect_arguments(),
    }


def _compare_epoch(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401  (the driver's own, or its async twin)
    """Begin a new epoch if this connection leads to another cluster or timeline than the last one did."""
    cursor = dbapi_connection.cursor()
    cursor.execute("SELECT current_epoch()")
    cursor.close()
    dbapi_connection.commit()


def _leave_read_only(context: ExceptionContext) -> None:
    """Treat connections to a server that takes no changes as broken, so that the next ones may lead to one that does.

    A primary that was demoted keeps its connections, and so does a session that began while writing was off.
    """
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


def make_engine(settings: Settings, *, compare_epoch: bool = True) -> Engine:
    """Return an engine for threads. `compare_epoch=False` is for a database that has no tables yet."""
    engine = create_engine(settings.database_url, **_options(settings))
    event.listen(engine, "handle_error", _leave_read_only)
    timeline.watch(engine)
    if compare_epoch:
        event.listen(engine, "connect", _compare_epoch)
    return engine


def make_async_engine(settings: Settings) -> AsyncEngine:
    """Return an engine for an event loop."""
    engine = create_async_engine(settings.database_url, **_options(settings))
    event.listen(engine.sync_engine, "handle_error", _leave_read_only)
    timeline.watch(engine.sync_engine)
    event.listen(engine.sync_engine, "connect", _compare_epoch)
    return engine


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Return a maker of sessions whose rows stay readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


def async_session_factory(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return the asyncio twin of `session_factory`."""
    return async_sessionmaker(engine, expire_on_commit=False)
