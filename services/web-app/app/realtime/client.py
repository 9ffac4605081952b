"""One connected client: what waits to be written to it, and why it must go."""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum

from app.realtime.frames import Frame


class CloseCode(IntEnum):
    """WebSocket close codes of the contract. 4008 and 1012 tell a client to come back with its cursor."""

    RESTART = 1012
    SIGNED_OUT = 4001
    FORBIDDEN = 4003
    TOO_SLOW = 4008
    ABUSE = 4009
    LIMIT = 4029


class Offer(Enum):
    """What became of a frame."""

    TAKEN = "taken"
    SKIPPED = "skipped"  # the client has it already, or is going
    OVERFLOW = "overflow"  # the client is too slow and is being closed


@dataclass(frozen=True, slots=True)
class SessionCredential:
    """Signed in by the cookie of this session."""

    token_hash: bytes


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """Signed in by this bearer token."""

    token_id: int


Credential = SessionCredential | TokenCredential


class Client:
    """One socket or event stream: whose it is, how far it has read, what is waiting to be written.

    The hub only ever calls `offer` and `close`, which never wait. Whoever owns the transport calls `next_frames` and
    writes. A hub that adopts bare transports replaces this class and keeps those two names.
    """

    __slots__ = ("_catch_up", "_closed", "_closing", "_limit", "_live", "_wake", "after", "credential", "user_id")

    def __init__(self, user_id: int, credential: Credential, limit: int) -> None:
        self.user_id = user_id
        self.credential = credential
        self.after = 0  # sequence up to which the client needs nothing
        self._limit = limit
        self._catch_up: deque[Frame] = deque()
        self._live: deque[Frame] = deque()
        self._wake = asyncio.Event()
        self._closed = asyncio.Event()
        self._closing: CloseCode | None = None

    @property
    def closing(self) -> CloseCode | None:
        """Why the client must go, or None while it may stay."""
        return self._closing

    def offer(self, frame: Frame) -> Offer:
        """Queue `frame`, or close the client with 4008 when more than `limit` frames wait already. Never waits."""
        if self._closing or (frame.follows is not None and frame.follows < self.after):
            return Offer.SKIPPED
        if len(self._live) >= self._limit:
            self.close(CloseCode.TOO_SLOW)
            return Offer.OVERFLOW
        self._live.append(frame)
        self._wake.set()
        return Offer.TAKEN

    def catch_up(self, frames: Iterable[Frame]) -> None:
        """Put `frames` before all live ones; they do not count against the limit."""
        self._catch_up.extend(frames)
        self._wake.set()

    def close(self, code: CloseCode) -> None:
        """Ask the owner of the transport to close it. What waits is dropped; the first reason stands."""
        if self._closing is None:
            self._closing = code
            self._catch_up.clear()
            self._live.clear()
            self._wake.set()
            self._closed.set()

    async def next_frames(self) -> list[Frame]:
        """Wait until something is to be written and return it, oldest first; nothing when the client is closing."""
        while not (self._catch_up or self._live or self._closing):
            self._wake.clear()
            await self._wake.wait()
        frames = [*self._catch_up, *self._live]
        self._catch_up.clear()
        self._live.clear()
        return frames

    async def wait_closing(self) -> None:
        """Wait until the client must go; `closing` then says why."""
        await self._closed.wait()
