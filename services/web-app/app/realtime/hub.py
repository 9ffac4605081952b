"""The hub: who is connected to this instance, and the fan-out of events to those who may see them."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.domain.cursor import Cursor
from app.domain.digest import Digest, condense, latest_progress
from app.domain.envelope import UNREADABLE, StoredEvent
from app.domain.permissions import Access
from app.realtime import frames
from app.realtime.client import Client, CloseCode, Credential
from app.realtime.frames import Batch, Frame, Pulse
from app.realtime.limits import Limits
from app.realtime.ring import Ring

MERGE_FROM = 5  # updates in a row that become a digest in a storm
CHUNK = 32  # events written to a client that lags before its buffer is looked at again
log = logging.getLogger(__name__)


class TooManyConnectionsError(Exception):
    """A user or an address has as many connections to this instance as one may have; `whose` says which."""

    def __init__(self, whose: Literal["user", "address"]) -> None:
        super().__init__(whose)
        self.whose = whose


@dataclass(slots=True)
class Counters:
    """What the hub has done since the process started."""

    events: int = 0
    deliveries: int = 0
    manual: int = 0
    lagged: int = 0
    closed: dict[CloseCode, int] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)  # handshakes of WebSockets, by the problem's code
    resyncs: Counter[str] = field(default_factory=Counter)  # clients told to load anew, by reason


@dataclass(slots=True, eq=False)
class _Member:
    """A connected user: rights once, clients many. `live` are those that have everything and are written to at once."""

    access: Access
    clients: set[Client] = field(default_factory=set)
    live: set[Client] = field(default_factory=set)


class ConnectionManager:
    """All clients of this instance, by user. Everything here runs in the event loop and nothing here waits.

    A message is encoded once, and who may see it is decided once per user and host, not per client. A client is known
    by itself, not by its user's name: tabs of one user do not evict each other.

    A client that is `behind` gets nothing from the fan-out. It is caught up from the ring as soon as its buffer has
    room; where the ring does not reach, `on_lag` is called, and whoever answers reads the log and calls `feed`.
    """

    def __init__(self) -> None:
        self.head: Cursor | None = None  # everything up to here has been offered; None until the log was first read
        self.counters = Counters()
        self.limits = Limits()
        self.on_lag: Callable[[Client], None] = lambda _: None
        self._members: dict[int, _Member] = {}
        self._audiences: dict[int | None, tuple[_Member, ...]] = {}
        self._addresses: Counter[str] = Counter()
        self._ring = Ring(self.limits.ring_size)
        self._blocked: set[Client] = set()  # their buffers are full
        self._ahead: set[Client] = set()  # a faster instance told them more than this one has read

    def __len__(self) -> int:
        """Return the number of connected clients."""
        return sum(len(member.clients) for member in self._members.values())

    @property
    def user_ids(self) -> Collection[int]:
        """The users who are connected now."""
        return self._members.keys()

    @property
    def lagging(self) -> int:
        """The number of clients whose buffers are full now."""
        return len(self._blocked)

    def limit(self, limits: Limits) -> None:
        """Hold to `limits` from now on."""
        self.limits = limits
        self._ring.size = limits.ring_size

    def clients(self) -> Iterator[Client]:
        """Go through a snapshot of the connected clients."""
        for member in list(self._members.values()):
            yield from list(member.clients)

    def begin(self, head: Cursor, recent: Sequence[StoredEvent] = ()) -> None:
        """Start from `head`: what follows it will be published. `recent` is what lies just before it, without a gap."""
        self.head = head
        self._ring.restart(recent[0].cursor.sequence - 1 if recent else head.sequence)
        for event, frame in _made(recent):
            self._ring.add(event, frame)

    def connect(self, client: Client, access: Access) -> Cursor:
        """Add `client`, to be written to from `greet` on. Return the cursor behind which it will get every event.

        Raises:
            TooManyConnectionsError: its user or its address has as many as the limits allow.
        """
        member = self._members.get(client.user_id)
        if member and len(member.clients) >= self.limits.connections_per_user:
            raise TooManyConnectionsError("user")
        if client.address and self._addresses[client.address] >= self.limits.connections_per_address:
            raise TooManyConnectionsError("address")
        if self.head is None:
            raise RuntimeError("the event log has not been read yet")
        if member is None:
            member = self._members[client.user_id] = _Member(access)
            self._audiences.clear()
        elif member.access != access:
            member.access = access
            self._audiences.clear()
        member.clients.add(client)
        if client.address:
            self._addresses[client.address] += 1
        client.behind = self.head.sequence
        return self.head

    def greet(self, client: Client, opening: Sequence[Frame], missed: Sequence[StoredEvent], until: int) -> None:
        """Write `opening` and the events that `client` missed up to the sequence `until`, and go on from there."""
        if client.closing is not None:
            return
        member = self._member(client)
        if member is None:
            return
        client.behind = missed[0].cursor.sequence - 1 if missed else until
        client.write(Batch(opening))
        # The rights are those of now: they may have changed while what was missed was being read.
        if self._write_missed(client, self._encoded(missed, member)):
            client.behind = until
            self.catch_up(client)

    def recent(self, since: Cursor) -> list[StoredEvent] | None:
        """Return what lies between `since` and the head, None where memory does not reach that far back."""
        head = self.head
        if head is None or since.epoch != head.epoch or not self._ring.floor <= since.sequence <= head.sequence:
            return None
        return [event for event, _ in self._ring.after(since.sequence)]

    def disconnect(self, client: Client) -> None:
        """Forget `client`; it may be unknown."""
        self._blocked.discard(client)
        self._ahead.discard(client)
        member = self._member(client)
        if member is None:
            return
        member.clients.remove(client)
        member.live.discard(client)
        if client.address:
            self._addresses[client.address] -= 1
            if not self._addresses[client.address]:
                del self._addresses[client.address]
        if client.closing:
            self.counters.closed[client.closing] = self.counters.closed.get(client.closing, 0) + 1
        if not member.clients:
            del self._members[client.user_id]
            self._audiences.clear()

    def publish(self, events: Sequence[StoredEvent], *, merge: bool = False) -> None:
        """Write rows of the event log to everyone who may see them, and move the head behind them.

        With `merge`, each user's updates become a digest where enough of them follow each other.
        """
        entries = _made(events)
        # Made before the head moves: what fails here is tried again, and not skipped.
        shares = self._shares(entries, MERGE_FROM if merge else math.inf)
        for event, frame in entries:
            self._ring.add(event, frame)
        self.head = events[-1].cursor
        self.counters.events += len(entries)
        for member, batch in shares:
            self._write(member, batch)
        for client in tuple(self._ahead):
            self.catch_up(client)

    def publish_manual(self, frame: Frame) -> None:
        """Write a message that is in no log to those who may see all hosts. Moves no cursor."""
        batch = Batch((frame,))
        for member in self._audience(None):
            self._write(member, batch)
            for client in member.clients & self._ahead:
                client.write(batch)
        self.counters.manual += 1

    def heartbeat(self, pulse: Pulse) -> None:
        """Tell every client that has everything how far that is, and how fresh."""
        if self.head is None:
            return
        batch = Batch((frames.heartbeat(self.head, pulse),))
        for member in self._members.values():
            self._write(member, batch)
        for client in tuple(self._ahead):
            self.tell(client, pulse)

    def tell(self, client: Client, pulse: Pulse) -> None:
        """Send a heartbeat to one client, if it has everything; one that is ahead keeps its own cursor."""
        if self.head is None or (client.behind is not None and client not in self._ahead):
            return
        at = self.head if client.behind is None else Cursor(self.head.epoch, client.behind)
        client.say(frames.heartbeat(at, pulse))

    def resync(self, head: Cursor) -> None:
        """Tell every client that history is another one now, and go on from `head`."""
        self.begin(head)
        told = Batch((frames.resync_required(head, "other_epoch"),))
        for member in list(self._members.values()):
            for client in tuple(member.clients):
                if client in member.live or client in self._ahead:
                    self._go_live(client, member)
                    client.write(told)
                    self.counters.resyncs["other_epoch"] += 1
                else:  # it comes back with its cursor, and is told then
                    client.close(CloseCode.TOO_SLOW)

    def refresh(self, accesses: Mapping[int, Access | None], ended: Collection[Credential]) -> None:
        """Apply what is true of rights now: close clients whose sign-in ended or whose user may not sign in any more.

        `accesses` names the users that were looked at; None stands for one who is gone or disabled.
        """
        for user_id, access in accesses.items():
            member = self._members.get(user_id)
            if member is None:
                continue
            for client in tuple(member.clients):
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

    def hold(self, client: Client) -> None:
        """Write nothing more to `client`: its buffer is full, and it has everything up to the head."""
        member = self._member(client)
        if member is None:
            return
        self._blocked.add(client)
        self._ahead.discard(client)
        if client in member.live:
            member.live.discard(client)
            client.behind = self._sequence
            self.counters.lagged += 1

    def release(self, client: Client) -> None:
        """Go on with `client`: its buffer has room."""
        self._blocked.discard(client)
        self.catch_up(client)

    def catch_up(self, client: Client) -> None:
        """Write what `client` lacks from the ring, as far as its buffer allows; then it is live again."""
        member = self._member(client)
        if member is None or client.behind is None or client.blocked_since is not None:
            return
        if client.behind < self._ring.floor:
            self.on_lag(client)
        elif client.behind > self._sequence:
            self._ahead.add(client)
        else:
            seen = [entry for entry in self._ring.after(client.behind) if member.access.may_see(entry[0].host_id)]
            if self._write_missed(client, seen):
                self._go_live(client, member)

    def feed(self, client: Client, events: Sequence[StoredEvent]) -> bool:
        """Write rows of the log that follow where `client` stands; False when its buffer is full or it has left."""
        member = self._member(client)
        if member is None:
            return False
        if not self._write_missed(client, self._encoded(events, member)):
            return False
        if events:
            client.behind = events[-1].cursor.sequence
        return True

    def close_slow(self, seconds: float) -> None:
        """Close the clients whose buffers have been full for longer than `seconds`."""
        limit = time.monotonic() - seconds
        for client in tuple(self._blocked):
            if client.blocked_since is not None and client.blocked_since < limit:
                log.warning("Closing a client of user %s: it does not read (4008)", client.user_id)
                client.close(CloseCode.TOO_SLOW)

    @property
    def _sequence(self) -> int:
        return self.head.sequence if self.head else 0

    def _member(self, client: Client) -> _Member | None:
        """Return whose client it is, None when it is not connected."""
        member = self._members.get(client.user_id)
        return member if member is not None and client in member.clients else None

    def _go_live(self, client: Client, member: _Member) -> None:
        client.behind = None
        self._ahead.discard(client)
        member.live.add(client)

    def _encoded(self, events: Sequence[StoredEvent], member: _Member) -> list[tuple[StoredEvent, Frame]]:
        """Encode what a user may see of `events`, but for those that are kept as everybody got them."""
        after = events[0].cursor.sequence - 1 if events else self._sequence
        kept = {event.cursor.sequence: frame for event, frame in self._ring.after(after)}
        return [
            (event, kept.get(event.cursor.sequence) or frames.event_frame(event))
            for event in events
            if event.type != UNREADABLE and member.access.may_see(event.host_id)
        ]

    def _write_missed(self, client: Client, entries: Sequence[tuple[StoredEvent, Frame]]) -> bool:
        """Write in chunks, noting how far `client` is; say whether all of it could be written."""
        entries = _newest(entries)
        for start in range(0, len(entries), CHUNK):
            if client.blocked_since is not None or client.closing is not None:
                return False
            chunk = entries[start : start + CHUNK]
            client.behind = chunk[-1][0].cursor.sequence
            client.write(Batch([frame for _, frame in chunk]))
            self.counters.deliveries += len(chunk)
        return client.blocked_since is None and client.closing is None

    def _audience(self, host_id: int | None) -> tuple[_Member, ...]:
        audience = self._audiences.get(host_id)
        if audience is None:
            audience = tuple(member for member in self._members.values() if member.access.may_see(host_id))
            self._audiences[host_id] = audience
        return audience

    def _shares(self, entries: Sequence[tuple[StoredEvent, Frame]], merge_from: float) -> list[tuple[_Member, Batch]]:
        """Say what each user gets of `entries`; users who may see the same share one batch."""
        seen: dict[_Member, list[int]] = {}
        for index, (event, _) in enumerate(entries):
            for member in self._audience(event.host_id):
                seen.setdefault(member, []).append(index)
        batches: dict[tuple[int, ...], Batch] = {}
        for share in map(tuple, seen.values()):
            if share not in batches:
                batches[share] = Batch(_shed([entries[index] for index in share], merge_from))
        return [(member, batches[tuple(indexes)]) for member, indexes in seen.items()]

    def _write(self, member: _Member, batch: Batch) -> None:
        # A copy: a client whose buffer gets full leaves the set.
        for client in tuple(member.live):
            client.write(batch)
        self.counters.deliveries += len(member.live) * len(batch.frames)


def _made(events: Sequence[StoredEvent]) -> list[tuple[StoredEvent, Frame]]:
    return [(event, frames.event_frame(event)) for event in events if event.type != UNREADABLE]


def _newest(entries: Sequence[tuple[StoredEvent, Frame]]) -> Sequence[tuple[StoredEvent, Frame]]:
    """Leave out progress that a later entry makes pointless."""
    frame_of = {event.cursor: frame for event, frame in entries}
    return [(event, frame_of[event.cursor]) for event in latest_progress([event for event, _ in entries])]


def _shed(entries: Sequence[tuple[StoredEvent, Frame]], merge_from: float) -> list[Frame]:
    """Return what is written for `entries`: all but old progress, with digests for `merge_from` updates in a row."""
    if len(entries) == 1:
        return [entries[0][1]]
    frame_of = {event.cursor: frame for event, frame in entries}
    condensed = condense([event for event, _ in entries], merge_from)
    return [frames.digest(item) if isinstance(item, Digest) else frame_of[item.cursor] for item in condensed]
