"""The live side of an instance: hub, log reader, permission checks, heartbeats and the way in and out for clients."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.events import oldest_sequence, read_events
from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent
from app.domain.permissions import Access
from app.realtime import frames
from app.realtime.client import Client, CloseCode
from app.realtime.frames import Frame
from app.realtime.hub import ConnectionManager
from app.realtime.manual import ManualGate
from app.realtime.reader import BATCH, LogReader
from app.realtime.recheck import recheck_permissions
from app.realtime.replay import ResyncRequiredError, replay
from app.realtime.wheel import Wheel
from app.utils.notification_service.subscriber import NotificationSubscriber

DRAIN_BATCH = 50  # clients closed at a time while draining
log = logging.getLogger(__name__)


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
        self.reader = LogReader(sessions, manager, settings.log_poll_interval)
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

    async def join(self, client: Client, access: Access, since: Cursor | None) -> Greeting:
        """Connect a client and read what it missed since `since`, so that it gets every event once and in order.

        The client takes its place in the live feed first; the log is then read up to exactly there. Nothing is written
        to it before `greet`.

        Raises:
            TooManyConnectionsError: the user has as many as one may have.
            sqlalchemy.exc.SQLAlchemyError, OSError: the log cannot be read; the client is not connected.
        """
        settings = self._settings
        place = self.manager.connect(client, access, settings.connections_per_user)
        try:
            opening = [frames.hello(place, settings.instance, settings.release_id)]
            if since is None:
                return Greeting(opening, (), place.sequence)
            return await self._what_was_missed(opening, access, since, place)
        except BaseException:
            self.manager.disconnect(client)
            raise

    def greet(self, client: Client, greeting: Greeting) -> None:
        """Write the greeting; from here on the client gets what happens."""
        self.manager.greet(client, greeting.opening, greeting.missed, greeting.until)

    async def _what_was_missed(self, opening: list[Frame], access: Access, since: Cursor, place: Cursor) -> Greeting:
        try:
            async with self._sessions() as session:
                found = await session.run_sync(replay, access, since, place, self._settings.replay_limit)
        except ResyncRequiredError as error:
            head = self.manager.head or place
            return Greeting([*opening, frames.resync_required(head, error.reason)], (), head.sequence)
        resumed = frames.resumed(since, len(found.events))
        return Greeting([*opening, resumed], found.events, found.until.sequence)

    def _lags(self, client: Client) -> None:
        """Catch up a client that is further behind than the ring reaches."""
        if client not in self._catching_up:
            task = asyncio.create_task(self._catch_up(client), name="catch up")
            self._catching_up[client] = task
            task.add_done_callback(lambda _: self._catching_up.pop(client, None))

    async def _catch_up(self, client: Client) -> None:
        while client.behind is not None:
            known = self.manager.head
            try:
                async with self._sessions() as session:
                    epoch, complete, rows = await session.run_sync(_read_on, client.behind)
            except (SQLAlchemyError, OSError) as error:
                log.warning("Cannot catch up a client from the event log (%s); closing it", type(error).__name__)
                client.close(CloseCode.TOO_SLOW)
                return
            if known is None or epoch != known.epoch or not complete:
                client.close(CloseCode.TOO_SLOW)  # it comes back with its cursor, and is told to load anew
                return
            if not self.manager.feed(client, rows):
                return
            if len(rows) < BATCH:
                # On the next turn, when this task is no longer on record.
                asyncio.get_running_loop().call_soon(self.manager.catch_up, client)
                return

    async def drain(self, seconds: float) -> int:
        """Take no new clients, send the connected ones away over about `seconds`, and return how many there were."""
        self.draining = True
        clients = list(self.manager.clients())
        for client in clients:
            client.say(frames.reconnect(int(random.uniform(0, seconds) * 1000)))  # noqa: S311
        batches = [clients[start : start + DRAIN_BATCH] for start in range(0, len(clients), DRAIN_BATCH)]
        for batch in batches:
            await asyncio.sleep(seconds / len(batches))
            for client in batch:
                client.close(CloseCode.RESTART)
        return len(clients)

    def stop(self) -> None:
        """Close every client at once with 1012; called as the server begins to stop."""
        self.draining = True
        for client in self.manager.clients():
            client.close(CloseCode.RESTART)

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_interval)
            self.manager.heartbeat()

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

    def log_age(self) -> float | None:
        """Return the seconds since the event log was last read, or None when it never was."""
        return None if self.reader.read_at is None else time.monotonic() - self.reader.read_at


def _read_on(session: Session, after: int) -> tuple[str, bool, list[StoredEvent]]:
    """Return the epoch, whether the log still has everything after `after`, and the next rows."""
    complete = after >= oldest_sequence(session) - 1
    epoch, rows = read_events(session, after, BATCH)
    return epoch, complete, rows


async def _for_ever(name: str, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `job` and start it again should it fail in a way nobody foresaw: the feed must not die silently."""
    while True:
        try:
            await job()
        except Exception:
            log.exception("The %s failed; starting it again", name)
        await asyncio.sleep(1)
