"""The log reader: follows the event log in PostgreSQL and hands every new row to the hub, in order, once."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import psycopg

from app.db.log_tail import LogTail
from app.domain.cursor import Cursor
from app.domain.digest import is_urgent
from app.domain.envelope import StoredEvent
from app.realtime.hub import ConnectionManager
from app.realtime.sound import sound

BATCH = 500  # rows read at a time
BURST = 100  # rows joined into one write per client; between them the loop turns
TAIL_INTERVAL = 1.0  # seconds between reads while no wake-ups can come
COLLECT = 1.0  # seconds that updates are held back in a storm, to be merged
log = logging.getLogger(__name__)


class Storm:
    """Tells whether more than `rate` events came within the last second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._seen: deque[tuple[float, int]] = deque()

    def count(self, events: int) -> None:
        """Note that so many events came just now."""
        if events:
            self._seen.append((time.monotonic(), events))

    @property
    def rages(self) -> bool:
        """Whether it is one now."""
        limit = time.monotonic() - 1
        while self._seen and self._seen[0][0] < limit:
            self._seen.popleft()
        return sum(events for _, events in self._seen) > self._rate


class LogReader:
    """Reads new rows when woken, and at least every `poll_interval` seconds whatever happens to the wake-ups.

    In a storm, rows that need nobody's attention are held back for up to a second, so that the hub can merge them. An
    urgent one takes everything before it along at once.
    """

    def __init__(
        self,
        tail: LogTail,
        manager: ConnectionManager,
        *,
        poll_interval: float,
        digest_rate: float,
        wakes_come: Callable[[], bool],
    ) -> None:
        """Make a reader; `wakes_come` tells whether somebody would call `wake` if there were something new."""
        self._tail = tail
        self._manager = manager
        self._poll_interval = poll_interval
        self._wakes_come = wakes_come
        self._wake = asyncio.Event()
        self._storm = Storm(digest_rate)
        self._held: list[StoredEvent] = []
        self._held_since = 0.0
        self._merges = False  # what is held came in a storm, even if that has passed meanwhile
        self.failing = True  # until the first read: the head is then asked for, which compares the epoch
        self.read_at: float | None = None  # time.monotonic() of the last read that succeeded

    def wake(self) -> None:
        """Read now: there may be a new row."""
        self._wake.set()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._read()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._wake.wait()
        finally:
            self.failing = True  # whoever goes on asks first whether it is the same history
            await self._tail.close()

    def _pause(self) -> float:
        pause = self._poll_interval if self._wakes_come() else min(TAIL_INTERVAL, self._poll_interval)
        return min(pause, self._held_since + COLLECT - time.monotonic()) if self._held else pause

    async def _read(self) -> None:
        try:
            if self.failing:
                await self._compare()
            while await self._read_batch():
                pass
        except (psycopg.Error, OSError) as error:
            if not self.failing:
                log.warning("Cannot read the event log (%s); trying on", type(error).__name__)
            self.failing = True
            await self._forward()
        else:
            if self.failing and self.read_at is not None:
                log.info("The event log can be read again")
            self.failing = False
            self.read_at = time.monotonic()

    async def _compare(self) -> None:
        """Ask where the log stands: at the start, and after every failure, when it may be another history."""
        now = await self._tail.head()
        known = self._manager.head
        if known is None:
            # Clients of the process before this one come back, and ask for what happened meanwhile.
            size = self._manager.limits.ring_size
            epoch, rows = await self._tail.read(now.sequence - size, size)
            recent = [event for event in sound(rows) if event.cursor.sequence <= now.sequence]
            self._manager.begin(now, recent if epoch == now.epoch else ())
        elif now.epoch != known.epoch or now.sequence < known.sequence:
            self._restart(now)

    async def _read_batch(self) -> bool:
        """Forward up to `BATCH` rows and say whether there may be more."""
        known = self._held[-1].cursor if self._held else self._manager.head
        if known is None:
            return False
        epoch, events = await self._tail.read(known.sequence, BATCH)
        if epoch != known.epoch:
            self._restart(await self._tail.head())
            return True
        events = sound(events)
        self._storm.count(len(events))
        if not self._held:
            self._held_since, self._merges = time.monotonic(), False
        self._held += events
        self._merges = self._merges or self._storm.rages
        if self._held and not self._may_wait():
            await self._forward()
        return len(events) == BATCH

    def _may_wait(self) -> bool:
        return (
            self._merges
            and len(self._held) < BATCH
            and time.monotonic() < self._held_since + COLLECT
            and not any(is_urgent(event) for event in self._held)
        )

    def _restart(self, now: Cursor) -> None:
        log.warning("The event log has another history since %s: every client loads anew", now)
        self._held.clear()
        self._manager.resync(now)

    async def _forward(self) -> None:
        events, self._held = self._held, []
        for part in _parts(events, merges=self._merges):
            self._manager.publish(part, merge=self._merges)
            told = ", ".join(str(event.data.get("status", event.type)) for event in part)
            log.info("Forwarded notification to WebSocket clients: %s", told)
            await asyncio.sleep(0)  # lets the transports write: a long batch is no reason to find them slow


def _parts(events: Sequence[StoredEvent], *, merges: bool) -> Iterator[Sequence[StoredEvent]]:
    """Cut where `BURST` frames will have been made of `events`; what is merged makes hardly any."""
    start = frames = 0
    for place, event in enumerate(events, start=1):
        frames += not merges or is_urgent(event)
        if frames == BURST:
            yield events[start:place]
            start, frames = place, 0
    if start < len(events):
        yield events[start:]
