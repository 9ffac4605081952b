"""One connected client: whose it is, how far it has read, and why it must go."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from app.realtime.frames import Batch, Frame
from app.realtime.limits import Limits


class CloseCode(IntEnum):
    """WebSocket close codes of the contract. 4008 and 1012 tell a client to come back with its cursor."""

    RESTART = 1012
    SIGNED_OUT = 4001
    FORBIDDEN = 4003
    TOO_SLOW = 4008
    ABUSE = 4009
    LIMIT = 4029


@dataclass(frozen=True, slots=True)
class SessionCredential:
    """Signed in by the cookie of this session."""

    token_hash: bytes


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """Signed in by this bearer token."""

    token_id: int


Credential = SessionCredential | TokenCredential


class Home(Protocol):
    """The hub that a client is connected to: whom it tells of itself, and whose limits it holds to."""

    limits: Limits

    def hold(self, client: "Client") -> None:
        """Write nothing more to `client`, its buffer is full."""

    def release(self, client: "Client") -> None:
        """Go on with `client`, its buffer has room."""

    def disconnect(self, client: "Client") -> None:
        """Forget `client`."""


class Client(ABC):
    """One socket or event stream.

    The hub writes to it and never waits. Above the soft limit of its buffer a client only remembers how far it has
    read, and is caught up later from ring or log; one that stays there for too long is closed with 4008.
    """

    __slots__ = ("address", "behind", "blocked_since", "closing", "credential", "home", "user_id")

    def __init__(self, user_id: int, credential: Credential, home: Home, address: str | None = None) -> None:
        """Make a client of a user; `address` is its own as the edge balancer saw it, where that is known."""
        self.user_id = user_id
        self.address = address
        self.credential = credential
        self.home = home
        self.behind: int | None = None  # None: has everything. Else: has everything up to here and needs what follows
        self.blocked_since: float | None = None  # time.monotonic() at which its buffer was full
        self.closing: CloseCode | None = None  # why it must go

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Hand `batch` over. Never waits; a full buffer shows in `blocked_since`."""

    @abstractmethod
    def _say_goodbye(self, code: CloseCode) -> None:
        """Begin to end the connection."""

    def say(self, frame: Frame) -> None:
        """Write a frame that nobody misses: not at all when the buffer is full."""
        if self.blocked_since is None and self.closing is None:
            self.write(Batch((frame,)))

    def close(self, code: CloseCode) -> None:
        """Leave the hub at once and end the connection soon. The first reason stands."""
        if self.closing is None:
            self.closing = code
            self.home.disconnect(self)
            self._say_goodbye(code)

    def pause_writing(self) -> None:
        """Note that the buffer is full (called by the transport)."""
        if self.blocked_since is None:
            self.blocked_since = time.monotonic()
            self.home.hold(self)

    def resume_writing(self) -> None:
        """Note that the buffer has room again (called by the transport)."""
        if self.blocked_since is not None:
            self.blocked_since = None
            if self.closing is None:
                self.home.release(self)


class QueueClient(Client):
    """A client behind ASGI: what waits for it is taken by a task that writes.

    For event streams, and for sockets where the server lets go of no transport.
    """

    __slots__ = ("_closed", "_limit", "_size", "_waiting", "_wake")

    def __init__(
        self, user_id: int, credential: Credential, home: Home, limit: int, address: str | None = None
    ) -> None:
        """Make a client whose buffer is full at `limit` bytes."""
        super().__init__(user_id, credential, home, address)
        self._limit = limit
        self._size = 0
        self._waiting: deque[Batch] = deque()
        self._wake = asyncio.Event()
        self._closed = asyncio.Event()

    @property
    def waiting(self) -> Sequence[Batch]:
        """What waits to be written."""
        return tuple(self._waiting)

    def write(self, batch: Batch) -> None:
        """Queue `batch`."""
        self._waiting.append(batch)
        self._size += len(batch.wire)
        self._wake.set()
        if self._size > self._limit:
            self.pause_writing()

    def _say_goodbye(self, code: CloseCode) -> None:  # noqa: ARG002  (whoever waits reads `closing`)
        self._waiting.clear()
        self._wake.set()
        self._closed.set()

    async def next_batches(self) -> Sequence[Batch]:
        """Wait until something is to be written and return it, oldest first; nothing when the client is closing."""
        while not (self._waiting or self.closing):
            self._wake.clear()
            await self._wake.wait()
        batches = self.waiting
        self._waiting.clear()
        self._size = 0
        self.resume_writing()
        return batches

    async def wait_closing(self) -> None:
        """Wait until the client must go; `closing` then says why."""
        await self._closed.wait()
