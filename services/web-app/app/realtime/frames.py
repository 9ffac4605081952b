"""Frames: messages encoded once and shared by every client that gets them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode

from app.domain.cursor import Cursor
from app.domain.digest import Digest
from app.domain.envelope import StoredEvent, envelope
from app.domain.messages import ErrorData
from app.realtime.deflate import deflated


@dataclass(frozen=True, slots=True)
class Pulse:
    """How fresh the feed of an instance is; `age` is the seconds since the log was last read."""

    state: Literal["live", "delayed", "stale"]
    age: float


@dataclass(slots=True)
class Frame:
    """One message, as it goes to bare sockets (`wire`), through ASGI (`text`) and to event streams (`sse`)."""

    text: str
    wire: bytes
    sse: bytes
    _deflated: bytes | None = None

    @property
    def deflated(self) -> bytes:
        """The message for sockets that agreed to compression; compressed for the first that asks."""
        if self._deflated is None:
            self._deflated = deflated(self.text.encode())
        return self._deflated


class Batch:
    """Frames that go out together: joined once, and shared by every client that gets just these."""

    __slots__ = ("_deflated", "_sse", "frames", "wire")

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.wire = frames[0].wire if len(frames) == 1 else b"".join(frame.wire for frame in frames)
        self._deflated: bytes | None = None
        self._sse: bytes | None = None

    @property
    def deflated(self) -> bytes:
        """The frames for sockets that agreed to compression; joined for the first that asks."""
        if self._deflated is None:
            self._deflated = b"".join(frame.deflated for frame in self.frames)
        return self._deflated

    @property
    def sse(self) -> bytes:
        """The frames as an event stream has them; joined for the first stream that asks."""
        if self._sse is None:
            self._sse = b"".join(frame.sse for frame in self.frames)
        return self._sse


def event_frame(event: StoredEvent) -> Frame:
    """Encode a row of the event log."""
    return _frame(envelope(event), event.cursor)


def manual_frame(message: dict[str, Any]) -> Frame:
    """Encode a checked message that is in no log."""
    return _frame({key: value for key, value in message.items() if key != "id"})


def hello(head: Cursor, instance: str, release: str) -> Frame:
    """Say who answers and where the log stands."""
    data = {"instance": instance, "epoch": head.epoch, "release": release}
    return _frame({"type": "hello", "id": str(head), "data": data})


def resumed(since: Cursor, events: int) -> Frame:
    """Announce exactly `events` missed events."""
    return _frame({"type": "resumed", "id": str(since), "data": {"events": events}})


def resync_required(head: Cursor, reason: str) -> Frame:
    """Say that the client's cursor leads nowhere."""
    return _frame({"type": "resync_required", "id": str(head), "data": {"reason": reason}})


def heartbeat(head: Cursor, pulse: Pulse) -> Frame:
    """Say that the feed is complete up to `head`, and how fresh that is."""
    data = {"state": pulse.state, "age": round(pulse.age, 1)}
    return _frame({"type": "heartbeat", "id": str(head), "data": data}, head)


def digest(merged: Digest) -> Frame:
    """Encode what stands for many updates."""
    data = {"since": str(merged.since)} | merged.counts
    return _frame({"type": "digest", "id": str(merged.until), "data": data}, merged.until)


def snapshot(at: Cursor, state: dict[str, Any]) -> Frame:
    """Encode the state that is true at `at`."""
    return _frame({"type": "snapshot", "id": str(at), "data": state}, at)


def reconnect(after_ms: int) -> Frame:
    """Ask the client to come back elsewhere."""
    return _frame({"type": "reconnect", "data": {"after_ms": after_ms}})


def error(detail: str) -> Frame:
    """Answer a message that the protocol does not know."""
    return _frame({"type": "error", "data": ErrorData(code="unexpected_message", detail=detail).model_dump()})


def _frame(message: dict[str, Any], cursor: Cursor | None = None) -> Frame:
    body = orjson.dumps(message)
    # An `id:` line is what a browser sends back as Last-Event-ID (HTML, server-sent events): only where that is right.
    head = f"id: {cursor}\n".encode() if cursor else b""
    return Frame(body.decode(), _wire(body), head + b"data: " + body + b"\n\n")


def _wire(body: bytes) -> bytes:
    return bytes(WireFrame(Opcode.TEXT, body).serialize(mask=False))


PONG = Frame("pong", _wire(b"pong"), b": pong\n\n")
