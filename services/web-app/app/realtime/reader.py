"""The log reader: follows the event log in PostgreSQL and hands every new row to the hub, in order, once."""

import asyncio
import logging
import time
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.events import head, read_events
from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent
from app.realtime.hub import ConnectionManager

BATCH = 500  # rows read at a time
BURST = 32  # rows joined into one write per client; between them the loop turns
log = logging.getLogger(__name__)


class LogReader:
    """Reads new rows when woken, and at least every `poll_interval` seconds whatever happens to the wake-ups."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], manager: ConnectionManager, poll_interval: float
    ) -> None:
        self._sessions = sessions
        self._manager = manager
        self._poll_interval = poll_interval
        self._wake = asyncio.Event()
        self._failing = True  # until the first read: the head is then asked for, which compares the epoch
        self.read_at: float | None = None  # time.monotonic() of the last read that succeeded

    def wake(self) -> None:
        """Read now: there may be a new row."""
        self._wake.set()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        while True:
            self._wake.clear()
            await self._read()
            try:
                async with asyncio.timeout(self._poll_interval):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _read(self) -> None:
        try:
            if self._failing:
                await self._compare()
            while await self._read_batch():
                pass
        except (SQLAlchemyError, OSError) as error:
            if not self._failing:
                log.warning("Cannot read the event log (%s); trying on", type(error).__name__)
            self._failing = True
        else:
            self._failing = False
            self.read_at = time.monotonic()

    async def _compare(self) -> None:
        """Ask where the log stands: at the start, and after every failure, when it may be another history."""
        async with self._sessions() as session:
            now = await session.run_sync(head)
        known = self._manager.head
        if known is None:
            self._manager.begin(now)
        elif now.epoch != known.epoch or now.sequence < known.sequence:
            self._restart(now)

    async def _read_batch(self) -> bool:
        """Forward up to `BATCH` rows and say whether there may be more."""
        known = self._manager.head
        if known is None:
            return False
        async with self._sessions() as session:
            epoch, events = await session.run_sync(read_events, known.sequence, BATCH)
        if epoch != known.epoch:
            async with self._sessions() as session:
                self._restart(await session.run_sync(head))
            return True
        for start in range(0, len(events), BURST):
            self._forward(events[start : start + BURST])
            await asyncio.sleep(0)  # lets the transports write: a long batch is no reason to find them slow
        return len(events) == BATCH

    def _restart(self, now: Cursor) -> None:
        log.warning("The event log has another history since %s: every client loads anew", now)
        self._manager.resync(now)

    def _forward(self, events: Sequence[StoredEvent]) -> None:
        self._manager.publish(events)
        for event in events:
            log.info("Forwarded notification to WebSocket clients: %s", event.data.get("status", event.type))
