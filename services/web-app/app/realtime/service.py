"""The live side of an instance: hub, log reader, permission checks, heartbeats and the way in and out for clients."""

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.events import oldest_sequence, read_events
from app.db.log_tail import LogTail
from app.db.overview import overview
from app.domain.cursor import Cursor
from app.domain.digest import latest_progress
from app.domain.envelope import StoredEvent
from app.domain.permissions import Access
from app.realtime import frames
from app.realtime.client import Client, CloseCode
from app.realtime.frames import Frame, Pulse
from app.realtime.hub import ConnectionManager
from app.realtime.limits import Limits
from app.realtime.manual import ManualGate
from app.realtime.reader import BATCH, LogReader
from app.realtime.recheck import recheck_permissions
from app.realtime.replay import Replay, ResyncRequiredError, replay
from app.realtime.sound import sound
from app.realtime.wheel import Wheel
from app.utils.notification_service.subscriber import NotificationSubscriber

DRAIN_STEP = 0.1  # seconds between batches of clients that are sent away, where it is more than one at a time
PACE = 0.9  # of the time that a drain is given is planned; the rest is for what comes late
LOG_DEADLINE = 5.0  # seconds that a read of the log may take until what clients have is called stale
PULSE_INTERVAL = 0.25  # seconds between looks at the state of the feed
_LIMITS = [field.name for field in fields(Limits)]
log = logging.getLogger(__name__)


class DrainTooShortError(Exception):
    """So many clients cannot be sent away in so short a time; says how long it takes."""

    def __init__(self, clients: int, rate: float, seconds: int) -> None:
        super().__init__(f"{clients} clients at {rate:g} a second take {seconds} s")


class HistoryChangedError(Exception):
    """The log has another history than the one this instance follows; it will have noticed in a moment."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a client that joins is told first: `opening`, then what it missed up to the sequence `until`."""

    opening: Sequence[Frame]
    missed: Sequence[StoredEvent]
    until: int


class Realtime:
    """Everything that keeps clients fed. One per instance."""

    def __init__(
        self, settings: Settings, sessions: async_sessionmaker[AsyncSession], manager: ConnectionManager
    ) -> None:
        self.manager = manager
        self.draining = False
        self.wheel = Wheel()
        self._catching_up: dict[Client, asyncio.Task[None]] = {}
        self._settings = settings
        self._sessions = sessions
        self.gate = ManualGate(
            manager,
            accept=settings.accept_manual_notifications,
            rate=settings.manual_notifications_per_second,
        )
        manager.limit(Limits(**{name: getattr(settings, name) for name in _LIMITS}))
        self.reader = LogReader(
            LogTail(settings),
            manager,
            poll_interval=settings.log_poll_interval,
            digest_rate=settings.digest_rate,
            wakes_come=lambda: self.subscriber.connected,
        )
        self.subscriber = NotificationSubscriber(settings, on_wake=self.reader.wake, on_manual=self.gate.receive)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the background tasks; leaving stops them."""
        jobs: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "log reader": self.reader.run,
            "subscriber": self.subscriber.run,
            "heartbeats": self._heartbeats,
            "permissions": self._permissions,
            "pings": self.wheel.run,
            "slow clients": self._slow_clients,
        }
        self.manager.on_lag = self._lags
        tasks = [asyncio.create_task(_for_ever(name, job), name=name) for name, job in jobs.items()]
        try:
            yield
        finally:
            self.stop()
            tasks.extend(self._catching_up.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def ready(self) -> bool:
        """Whether clients may join: the log was read and the instance is not about to stop."""
        return self.manager.head is not None and not self.draining

    async def join(self, client: Client, access: Access, since: Cursor | None, *, snapshot: bool = False) -> Greeting:
        """Connect a client and read what it missed since `since`, so that it gets every event once and in order.

        The client takes its place in the live feed first; then the log is read to its end, which may be ahead of what
        this instance has published by now. With `snapshot`, the state is read where there is no `since` to continue
        from. Nothing is written to the client before `greet`.

        Raises:
            TooManyConnectionsError: the user or the address has as many as one may have.
            HistoryChangedError: come back in a moment. The client is not connected, nor is it below:
            sqlalchemy.exc.SQLAlchemyError, OSError: the log cannot be read.
        """
        place = self.manager.connect(client, access)
        hello = frames.hello(place, self._settings.instance, self._settings.release_id)
        try:
            if since is None:
                return await self._from_now_on([hello], access, place, snapshot=snapshot)
            try:
                found = await self._missed(access, since)
            except ResyncRequiredError as error:
                head = self.manager.head or place
                self.manager.counters.resyncs[error.reason] += 1
                opening = [hello, frames.resync_required(head, error.reason)]
                return await self._from_now_on(opening, access, head, snapshot=snapshot)
            self._check_epoch(found.until)
            return Greeting([hello, frames.resumed(since, len(found.events))], found.events, found.until.sequence)
        except BaseException:
            self.manager.disconnect(client)
            raise

    async def _missed(self, access: Access, since: Cursor) -> Replay:
        """Read what followed `since`: from memory as far as it is there, and what is newer from the log.

        A crowd that comes back after a fault would otherwise read the same rows once for each of its clients.
        """
        head = self.manager.head
        recent = self.manager.recent(since)
        limit = self._settings.replay_limit
        if head is None or recent is None:
            head, recent = since, []
        if len(recent) > limit:
            raise ResyncRequiredError("too_many")
        async with self._sessions() as session:
            newer = await session.run_sync(replay, access, since, limit - len(recent), None, head)
        seen = [event for event in recent if access.may_see(event.host_id)]
        return Replay(latest_progress(seen + newer.events), newer.until)

    async def _from_now_on(
        self, opening: Sequence[Frame], access: Access, place: Cursor, *, snapshot: bool
    ) -> Greeting:
        if not snapshot:
            return Greeting(opening, (), place.sequence)
        async with self._sessions() as session:
            state = await session.run_sync(overview, access)
        at = Cursor.parse(state["cursor"])
        self._check_epoch(at)
        return Greeting([*opening, frames.snapshot(at, state)], (), at.sequence)

    def _check_epoch(self, cursor: Cursor) -> None:
        """Refuse to mix two histories: what was read is of another one than what will be published."""
        if self.manager.head is None or cursor.epoch != self.manager.head.epoch:
            self.reader.wake()
            raise HistoryChangedError

    def greet(self, client: Client, greeting: Greeting) -> None:
        """Write the greeting; from here on the client gets what happens."""
        self.manager.greet(client, greeting.opening, greeting.missed, greeting.until)
        pulse = self.pulse()
        if pulse.state != "live":
            self.manager.tell(client, pulse)

    def _lags(self, client: Client) -> None:
        """Catch up a client that is further behind than the ring reaches."""
        if client not in self._catching_up:
            self._catching_up[client] = asyncio.create_task(self._catch_up(client), name="catch up")

    async def _catch_up(self, client: Client) -> None:
        try:
            await self._feed_from_log(client)
        except Exception as error:  # noqa: BLE001  (whatever it was: the client comes back with its cursor)
            log.warning("Cannot catch up a client from the event log (%s); closing it", type(error).__name__)
            client.close(CloseCode.TOO_SLOW)
        finally:
            # Off the record without a pause: from here on the client's next lag begins a new task.
            del self._catching_up[client]
        self.manager.catch_up(client)

    async def _feed_from_log(self, client: Client) -> None:
        """Write what `client` lacks, until its buffer is full or the end of the log is reached."""
        going = True
        while going and client.behind is not None:
            known = self.manager.head
            async with self._sessions() as session:
                epoch, complete, rows = await session.run_sync(_read_on, client.behind)
            if known is None or epoch != known.epoch or not complete:
                client.close(CloseCode.TOO_SLOW)  # it comes back with its cursor, and is told to load anew
                return
            going = self.manager.feed(client, rows)
            if going and len(rows) < BATCH:
                client.behind = max(client.behind, known.sequence)
                return

    async def drain(self, seconds: float) -> int:
        """Take no new clients, send the connected ones away within `seconds`, and return how many there were.

        They leave in a steady stream, so that whoever takes them over is not overrun.

        Raises:
            DrainTooShortError: that would be more in a second than the settings allow. Nothing has been done.
        """
        shortest = len(self.manager) / self._settings.reconnects_per_second / PACE
        if shortest > seconds:
            raise DrainTooShortError(len(self.manager), self._settings.reconnects_per_second, math.ceil(shortest))
        self.draining = True
        told: list[Client] = []
        gone = 0
        rate = len(self.manager) / PACE / seconds if seconds else 1.0
        size = max(1, math.ceil(rate * DRAIN_STEP))
        pause = size / rate if rate else 0
        while True:
            for client in told:
                client.close(CloseCode.RESTART)
            clients = list(self.manager.clients())
            if not clients:
                return gone
            told = random.sample(clients, min(size, len(clients)))
            for client in told:
                client.say(frames.reconnect(int(random.uniform(0, pause) * 1000)))  # noqa: S311
            gone += len(told)
            await asyncio.sleep(pause)

    def stop(self) -> None:
        """Close every client at once with 1012; called as the server begins to stop."""
        self.draining = True
        for client in self.manager.clients():
            client.close(CloseCode.RESTART)

    def pulse(self) -> Pulse:
        """Return how fresh the feed is."""
        age = self.log_age() or 0.0
        if self.reader.failing or age > self._settings.log_poll_interval + LOG_DEADLINE:
            return Pulse("stale", age)
        return Pulse("live" if self.subscriber.connected else "delayed", age)

    async def _heartbeats(self) -> None:
        """Send one every so often, and at once when the state changes."""
        told, due = self.pulse().state, time.monotonic()
        while True:
            pulse, now = self.pulse(), time.monotonic()
            if pulse.state != told or now >= due:
                self.manager.heartbeat(pulse)
                told, due = pulse.state, now + self._settings.heartbeat_interval
            await asyncio.sleep(min(PULSE_INTERVAL, max(0.0, due - now)))

    async def _slow_clients(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.manager.close_slow(self._settings.slow_client_seconds)

    async def _permissions(self) -> None:
        await recheck_permissions(
            self._sessions,
            self.manager,
            interval=self._settings.permission_recheck_interval,
            idle=self._settings.session_idle,
        )

    def reads_log(self, *, within: float) -> bool:
        """Say whether the event log was read in the last `within` seconds, and nothing has failed since."""
        age = self.log_age()
        return not self.reader.failing and age is not None and age < within

    def log_age(self) -> float | None:
        """Return the seconds since the event log was last read, or None when it never was."""
        return None if self.reader.read_at is None else time.monotonic() - self.reader.read_at


def _read_on(session: Session, after: int) -> tuple[str, bool, list[StoredEvent]]:
    """Return the epoch, whether the log still has everything after `after`, and the next rows."""
    epoch, rows = read_events(session, after, BATCH)
    complete = after >= oldest_sequence(session) - 1  # asked after the rows: none of them can be missing then
    return epoch, complete, sound(rows)


async def _for_ever(name: str, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `job` and start it again should it fail in a way nobody foresaw: the feed must not die silently."""
    while True:
        try:
            await job()
        except Exception:
            log.exception("The %s failed; starting it again", name)
        await asyncio.sleep(1)
