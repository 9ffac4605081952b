"""The hub: who is connected to this instance, and the fan-out of events to those who may see them."""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent
from app.domain.permissions import Access
from app.realtime import frames
from app.realtime.client import Client, CloseCode, Credential, Offer
from app.realtime.frames import Frame

log = logging.getLogger(__name__)


class TooManyConnectionsError(Exception):
    """The user has as many connections to this instance as one may have."""


@dataclass(slots=True)
class Counters:
    """What the hub has done since the process started."""

    events: int = 0
    deliveries: int = 0
    closed: dict[CloseCode, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Member:
    """A connected user: rights once, clients many."""

    access: Access
    clients: set[Client] = field(default_factory=set)


class ConnectionManager:
    """All clients of this instance, by user. Everything here runs in the event loop and nothing here waits.

    A message is encoded once, and who may see it is decided once per user and host, not per client. A client is known
    by itself, not by its user's name: tabs of one user do not evict each other.
    """

    def __init__(self) -> None:
        self.head: Cursor | None = None  # everything up to here has been offered; None until the log was first read
        self.counters = Counters()
        self._members: dict[int, _Member] = {}
        self._audiences: dict[int | None, tuple[_Member, ...]] = {}

    def __len__(self) -> int:
        """Return the number of connected clients."""
        return sum(len(member.clients) for member in self._members.values())

    @property
    def user_ids(self) -> Collection[int]:
        """The users who are connected now."""
        return self._members.keys()

    def clients(self) -> Iterator[Client]:
        """Go through a snapshot of the connected clients."""
        for member in list(self._members.values()):
            yield from list(member.clients)

    def connect(self, client: Client, access: Access, limit: int) -> Cursor:
        """Add `client`, and return the cursor behind which it gets every event that `access` may see.

        Raises:
            TooManyConnectionsError: the user has `limit` clients already.
        """
        member = self._members.get(client.user_id)
        if member and len(member.clients) >= limit:
            raise TooManyConnectionsError
        if self.head is None:
            raise RuntimeError("the event log has not been read yet")
        if member is None:
            member = self._members[client.user_id] = _Member(access)
            self._audiences.clear()
        elif member.access != access:
            member.access = access
            self._audiences.clear()
        member.clients.add(client)
        client.after = self.head.sequence
        return self.head

    def disconnect(self, client: Client) -> None:
        """Forget `client`; it may be unknown."""
        member = self._members.get(client.user_id)
        if member is None or client not in member.clients:
            return
        member.clients.discard(client)
        if client.closing:
            self.counters.closed[client.closing] = self.counters.closed.get(client.closing, 0) + 1
        if not member.clients:
            del self._members[client.user_id]
            self._audiences.clear()

    def publish(self, event: StoredEvent) -> None:
        """Offer a row of the event log to everyone who may see it, and move the head to it."""
        self._offer(frames.event_frame(event), self._audience(event.host_id))
        self.head = event.cursor
        self.counters.events += 1

    def publish_manual(self, frame: Frame) -> None:
        """Offer a message that is in no log to those who may see all hosts. Moves no cursor."""
        self._offer(frame, self._audience(None))

    def heartbeat(self) -> None:
        """Tell every client how far the feed is complete."""
        if self.head is not None:
            self._offer(frames.heartbeat(self.head), self._members.values())

    def resync(self, head: Cursor) -> None:
        """Tell every client that history is another one now, and go on from `head`."""
        self.head = head
        for client in self.clients():
            client.after = head.sequence
        self._offer(frames.resync_required(head, "other_epoch"), self._members.values())

    def refresh(self, accesses: Mapping[int, Access | None], ended: Collection[Credential]) -> None:
        """Apply what is true of rights now: close clients whose sign-in ended or whose user may not sign in any more.

        `accesses` names the users that were looked at; None stands for one who is gone or disabled.
        """
        for user_id, access in accesses.items():
            member = self._members.get(user_id)
            if member is None:
                continue
            for client in member.clients:
                if client.credential in ended:
                    client.close(CloseCode.SIGNED_OUT)
                elif access is None:
                    client.close(CloseCode.FORBIDDEN)
            if access is not None and access != member.access:
                member.access = access
                self._audiences.clear()

    def end(self, credential: Credential) -> None:
        """Close every client that was signed in by `credential`."""
        for client in self.clients():
            if client.credential == credential:
                client.close(CloseCode.SIGNED_OUT)

    def _audience(self, host_id: int | None) -> tuple[_Member, ...]:
        audience = self._audiences.get(host_id)
        if audience is None:
            audience = tuple(member for member in self._members.values() if member.access.may_see(host_id))
            self._audiences[host_id] = audience
        return audience

    def _offer(self, frame: Frame, audience: Collection[_Member]) -> None:
        for member in audience:
            for client in member.clients:
                match client.offer(frame):
                    case Offer.TAKEN:
                        self.counters.deliveries += 1
                    case Offer.OVERFLOW:
                        log.warning("Closing a client of user %s: it does not read (4008)", member.access.name)
                    case Offer.SKIPPED:
                        pass
