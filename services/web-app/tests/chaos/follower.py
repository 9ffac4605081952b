"""A light client of the live feed that never gives up: it is dropped, moved and slowed, and notes what it was told."""

import asyncio
import json
import random
import ssl
import time
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson

from tests.chaos.wire import Op, close_frame, frame, request, take_frames

AWAY = 2.0  # seconds that a dropped client stays away
HANDSHAKE = 15.0  # seconds
RETURNS = {None, 1000, 1001, 1006, 1012, 4008}  # close codes after which a client comes back with its cursor
BUSY = {0, 502, 503}  # HTTP answers after which it tries again; 0: hung up without one


@dataclass(frozen=True)
class Remote:
    """A balancer, reached with TLS."""

    host: str
    port: int
    trust: ssl.SSLContext

    @property
    def name(self) -> str:
        """Return what a client's history calls it."""
        return f"{self.host}:{self.port}"


Choose = Callable[[random.Random], Path | Remote]


class Diary:
    """What a client was told, in order: single events, and digests that stand for several."""

    def __init__(self) -> None:
        self.first, self.last, self.count = array("q"), array("q"), array("q")  # count 0: a single event
        self.progress = array("q")
        self.problems: list[str] = []

    def __len__(self) -> int:
        return len(self.first)

    def note(self, first: int, last: int, count: int = 0) -> None:
        self.first.append(first)
        self.last.append(last)
        self.count.append(count)


class _Link(asyncio.Protocol):
    """One connection of a client: the handshake, and the frames that come."""

    def __init__(self, hello: bytes, receive: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[int] = loop.create_future()  # the status of the HTTP answer
        self.head = b""  # of the answer
        self.over: asyncio.Future[None] = loop.create_future()
        self.code: int | None = None  # of the server's close
        self.transport: asyncio.Transport | None = None
        self._hello, self._receive = hello, receive
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.opened.done():
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            self._buffer, self.head = rest, bytes(head)
            self.opened.set_result(int(head.split(b" ", 2)[1]))
        if self.opened.result() != 101:
            return
        for opcode, payload in take_frames(self._buffer):
            if opcode == Op.TEXT:
                self._receive(payload)
            elif opcode == Op.PING and self.transport is not None:
                self.transport.write(frame(Op.PONG, payload))
            elif opcode == Op.CLOSE:
                self.code = int.from_bytes(payload[:2]) if payload else 1005
                self.hang_up(politely=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.transport = None
        if not self.opened.done():
            self.opened.set_result(0)
        if not self.over.done():
            self.over.set_result(None)

    def hang_up(self, *, politely: bool = False) -> None:
        """End the connection, with or without a word."""
        if self.transport is not None:
            if politely:
                self.transport.write(close_frame(1001))
                self.transport.close()
            else:
                self.transport.abort()


class Follower:
    """One client. `choose` names the socket to connect to."""

    def __init__(self, name: str, headers: Mapping[str, str], cursor: str, seed: str, choose: Choose) -> None:
        self.name = name
        self.cursor = cursor  # of the last event, digest or heartbeat: what a client sends back
        self.diary = Diary()
        self.history: deque[str] = deque(maxlen=30)
        self.connected = False
        self.patience = 3.0  # seconds between tries at most
        self.arrivals: list[float] = []  # time.monotonic() of every handshake that was begun
        self.connects = 0
        self.listener: Callable[[dict[str, Any]], None] = lambda _: None
        self._headers = headers
        self._random = random.Random(seed)
        self._choose = choose
        self._link: _Link | None = None
        self._after = 0.0

    @property
    def position(self) -> int:
        """The sequence of the cursor. Only the test looks into it."""
        return sequence(self.cursor)

    async def follow(self) -> None:
        """Stay connected until cancelled."""
        attempt = 0
        try:
            while True:
                attempt = 0 if await self._connect() else attempt + 1
                # As the page does it: exponential, with full jitter, so that a crowd does not come back in step.
                pause = self._after or self._random.uniform(0, min(self.patience, 2 ** min(attempt, 10)))
                self._after = 0.0
                await asyncio.sleep(pause)
        finally:
            if self._link is not None:
                self._link.hang_up()

    def answered(self, head: bytes) -> None:
        """Take note of the head of a handshake's answer; empty where there was none."""

    def stay_away(self) -> None:
        """Be dropped, and come back after a while."""
        if self.connected and self._link is not None:
            self._after = AWAY
            self._link.hang_up(politely=self._random.random() < 0.3)

    def leave(self) -> None:
        """End this connection, and come back with the cursor as it is now."""
        if self._link is not None:
            self._link.hang_up(politely=True)

    async def nap(self, seconds: float) -> None:
        """Read nothing for a while."""
        transport = self._link.transport if self._link is not None and self.connected else None
        if transport is not None and not transport.is_closing():
            transport.pause_reading()
            try:
                await asyncio.sleep(seconds)
            finally:
                if not transport.is_closing():
                    transport.resume_reading()

    async def _connect(self) -> bool:
        """Connect, and read to the end; False if it never began."""
        address = self._choose(self._random)
        name = address.name if isinstance(address, Remote) else address.parent.name
        link = _Link(request(self._headers, f"/api/ws?since={self.cursor}"), self._receive)
        self._link = link
        self.arrivals.append(time.monotonic())
        try:
            async with asyncio.timeout(HANDSHAKE):
                await _open(address, link)
                status = await link.opened
        except (OSError, TimeoutError) as error:
            self._note(f"{name}: {type(error).__name__}")
            link.hang_up()
            return False
        self.answered(link.head)
        if status != 101:
            self._note(f"{name}: HTTP {status}")
            if status not in BUSY:
                self.diary.problems.append(f"the handshake was answered with {status}")
            link.hang_up()
            return False
        self.connected = True
        self.connects += 1
        await link.over
        self.connected = False
        self._note(f"{name}: closed with {link.code} at {self.cursor}")
        if link.code not in RETURNS:
            self.diary.problems.append(f"closed with {link.code}")
        return True

    def _note(self, text: str) -> None:
        self.history.append(f"{time.strftime('%X')} {text}")

    def _receive(self, payload: bytes) -> None:
        message = orjson.loads(payload)
        self._take(message)
        self.listener(message)

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "task_update" | "task_progress" | "findings_changed" | "notice" | "digest" | "heartbeat" as kind:
                self._move(message["id"], kind, message)
            case "reconnect":
                self._after = message["data"]["after_ms"] / 1000
            case "hello" | "resumed":
                return
            case _:
                self.diary.problems.append(f"unexpected: {json.dumps(message)[:300]}")

    def _move(self, cursor: str, kind: str, message: dict[str, Any]) -> None:
        at, before = sequence(cursor), self.position
        if cursor.partition("-")[0] != self.cursor.partition("-")[0]:
            self.diary.problems.append(f"{kind} of another epoch: {cursor} after {self.cursor}")
        if at < before or (at == before and kind != "heartbeat"):
            self.diary.problems.append(f"{kind} {cursor} after {self.cursor}")
        if kind == "digest":
            self.diary.note(sequence(message["data"]["since"]) + 1, at, message["data"]["events"])
        elif kind == "task_update":
            self.diary.note(at, at)
        elif kind == "task_progress":
            self.diary.progress.append(at)
        self.cursor = cursor


async def _open(address: Path | Remote, link: _Link) -> None:
    loop = asyncio.get_running_loop()
    if isinstance(address, Remote):
        await loop.create_connection(lambda: link, address.host, address.port, ssl=address.trust)
    else:
        await loop.create_unix_connection(lambda: link, str(address))


def sequence(cursor: str) -> int:
    """Return the place of a cursor in the log."""
    return int(cursor.rpartition("-")[2])


async def annoy(followers: list[Follower], seed: str, mean: float) -> None:
    """Drop clients, and slow them, each about every `mean` seconds. Runs until cancelled."""
    draw = random.Random(seed)
    async with asyncio.TaskGroup() as naps:
        while True:
            await asyncio.sleep(draw.expovariate(len(followers) / mean))
            victim = draw.choice(followers)
            if draw.random() < 0.8:
                victim.stay_away()
            else:
                naps.create_task(victim.nap(draw.uniform(0.5, 5)))
