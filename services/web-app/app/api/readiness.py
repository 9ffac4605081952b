"""Whether an instance may get traffic, asked of its parts at most once a second."""

import asyncio
import logging
import time
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.realtime.service import Realtime

TIMEOUT = 2.0  # seconds that the database may take
LOG_FRESH = 3.0  # seconds since the event log was read (every 2 s at least) in which that is answer enough
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What was found: a word for each part, and why the instance is not ready, if it is not."""

    database: str
    redis: str
    reason: str | None

    @property
    def ready(self) -> bool:
        """Whether traffic may come. Redis away is degraded and still ready: events come from the log."""
        return self.reason is None


class Readiness:
    """Looks at database, Redis and drain."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], realtime: Realtime) -> None:
        self._sessions = sessions
        self._realtime = realtime
        self._lock = asyncio.Lock()
        self._looked_at = float("-inf")
        self._database = "away"

    async def state(self) -> State:
        """Return the state of the parts now, or up to a second ago."""
        async with self._lock:
            if time.monotonic() - self._looked_at > 1:
                self._database = await self._look()
                self._looked_at = time.monotonic()
        redis = "ok" if self._realtime.subscriber.connected else "degraded"
        return State(self._database, redis, self._reason())

    def _reason(self) -> str | None:
        if self._realtime.draining:
            return "draining"
        if self._database != "ok":
            return "database_unavailable"
        if self._realtime.manager.head is None:
            return "event_log_unread"
        return None

    async def _look(self) -> str:
        # On a connection of its own: an instance all of whose other ones are at work for pages is busy, not ill.
        if self._realtime.reads_log(within=LOG_FRESH):
            return "ok"
        # Twice: a process that got no processor for so long finds its time run out, whatever the database did.
        return "ok" if await self._answers() or await self._answers() else "away"

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT), self._sessions() as session:
                await session.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("The database does not answer (%s)", type(error).__name__)
            return False
        return True
