"""The live side of an instance: hub, log reader, permission checks, heartbeats and the way in and out for clients."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.config import Settings
from app.domain.cursor import Cursor
from app.domain.permissions import Access
from app.realtime import frames
from app.realtime.client import Client, CloseCode, Credential
from app.realtime.hub import ConnectionManager
from app.realtime.manual import ManualGate
from app.realtime.reader import LogReader
from app.realtime.recheck import recheck_permissions
from app.realtime.replay import ResyncRequiredError, replay
from app.utils.notification_service.subscriber import NotificationSubscriber

DRAIN_BATCH = 50  # clients closed at a time while draining
log = logging.getLogger(__name__)


class Realtime:
    """Everything that keeps clients fed. One per instance."""

    def __init__(
        self, settings: Settings, sessions: async_sessionmaker[AsyncSession], manager: ConnectionManager
    ) -> None:
        self.manager = manager
        self.draining = False
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
        }
        tasks = [asyncio.create_task(_for_ever(name, job), name=name) for name, job in jobs.items()]
        try:
            yield
        finally:
            self.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def ready(self) -> bool:
        """Whether clients may join: the log was read and the instance is not about to stop."""
        return self.manager.head is not None and not self.draining

    @asynccontextmanager
    async def join(self, access: Access, credential: Credential, since: Cursor | None) -> AsyncIterator[Client]:
        """Connect a client: hello, then what it missed since `since`, then the live feed, with no gap and no repeat.

        The client joins the live feed first and remembers the feed's place; the log is then read up to exactly there,
        and goes before what came live meanwhile.

        Raises:
            TooManyConnectionsError: before anything was sent.
        """
        settings = self._settings
        client = Client(access.user_id, credential, settings.client_queue_limit)
        place = self.manager.connect(client, access, settings.connections_per_user)
        try:
            client.catch_up([frames.hello(place, settings.instance, settings.release_id)])
            if since is not None:
                await self._catch_up(client, access, since, place)
            yield client
        finally:
            self.manager.disconnect(client)

    async def _catch_up(self, client: Client, access: Access, since: Cursor, place: Cursor) -> None:
        client.after = max(place.sequence, since.sequence) if since.epoch == place.epoch else place.sequence
        try:
            async with self._sessions() as session:
                missed = await session.run_sync(replay, access, since, place, self._settings.replay_limit)
        except ResyncRequiredError as error:
            head = self.manager.head or place
            client.after = head.sequence
            client.catch_up([frames.resync_required(head, error.reason)])
        else:
            client.catch_up([frames.resumed(since, len(missed.events)), *map(frames.event_frame, missed.events)])

    async def drain(self, seconds: float) -> int:
        """Take no new clients, send the connected ones away over about `seconds`, and return how many there were."""
        self.draining = True
        clients = list(self.manager.clients())
        for client in clients:
            client.offer(frames.reconnect(int(random.uniform(0, seconds) * 1000)))  # noqa: S311
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


async def _for_ever(name: str, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `job` and start it again should it fail in a way nobody foresaw: the feed must not die silently."""
    while True:
        try:
            await job()
        except Exception:
            log.exception("The %s failed; starting it again", name)
        await asyncio.sleep(1)
