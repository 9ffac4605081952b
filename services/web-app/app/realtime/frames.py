"""Frames: messages encoded once and shared by every client that gets them."""

from dataclasses import dataclass
from typing import Any

import orjson

from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent, envelope
from app.realtime.messages import ErrorData


@dataclass(frozen=True, slots=True)
class Frame:
    """One text message, as it goes to sockets (`text`) and event streams (`sse`).

    `follows` is the sequence behind which a client needs the frame; None: it needs it anyway.
    """

    text: str
    sse: bytes
    follows: int | None = None


def event_frame(event: StoredEvent) -> Frame:
    """Encode a row of the event log."""
    return _frame(envelope(event), event.cursor, event.cursor.sequence - 1)


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


def heartbeat(head: Cursor) -> Frame:
    """Say that the feed is alive and complete up to `head`."""
    return _frame({"type": "heartbeat", "id": str(head)}, head, head.sequence)


def reconnect(after_ms: int) -> Frame:
    """Ask the client to come back elsewhere."""
    return _frame({"type": "reconnect", "data": {"after_ms": after_ms}})


def error(detail: str) -> Frame:
    """Answer a message that the protocol does not know."""
    return _frame({"type": "error", "data": ErrorData(code="unexpected_message", detail=detail).model_dump()})


PONG = Frame("pong", b": pong\n\n")


def _frame(message: dict[str, Any], cursor: Cursor | None = None, follows: int | None = None) -> Frame:
    body = orjson.dumps(message)
    # An `id:` line is what a browser sends back as Last-Event-ID (HTML, server-sent events): only where that is right.
    head = f"id: {cursor}\n".encode() if cursor else b""
    return Frame(body.decode(), head + b"data: " + body + b"\n\n", follows)
