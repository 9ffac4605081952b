"""What a bare socket receives, cut into messages (RFC 6455, section 5). Nothing is kept while nothing is incomplete."""

from collections.abc import Iterator
from dataclasses import dataclass

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.base import Extension
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.streams import StreamReader


class BadFrame(Exception):  # noqa: N818  (what was received, not what went wrong here)
    """The peer broke the protocol; `code` is the close code that tells it so."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message; `text` is None for a binary one."""

    text: str | None


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered with the same payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The peer closes; `payload` is what the answer repeats."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Nothing:
    """A frame that asks for nothing: a pong, or a part of a message."""


Received = Message | Ping | Goodbye | Nothing


class Reader:
    """Takes bytes in any portions and gives whole messages. Make a new one whenever the last one is `idle`."""

    __slots__ = ("_body", "_extensions", "_max_message", "_opcode", "_rest")

    def __init__(self, max_message: int, *extensions: Extension) -> None:
        """Make a reader of messages of up to `max_message` bytes, and of what the handshake agreed to."""
        self._max_message = max_message
        self._extensions = extensions
        self._rest = b""
        self._opcode: Opcode | None = None  # of the message whose fragments are in `_body`
        self._body = bytearray()

    @property
    def idle(self) -> bool:
        """Whether nothing is incomplete."""
        return not self._rest and self._opcode is None

    def feed(self, data: bytes) -> Iterator[Received]:
        """Yield what each frame that is whole by now amounts to.

        Raises:
            BadFrame: the bytes are no WebSocket frames of a client, no UTF-8, or a message that is too long.
        """
        stream = StreamReader()
        data = self._rest + data
        stream.feed_data(data)
        while True:
            left = len(stream.buffer)
            frame = self._next_frame(stream)
            if frame is None:
                self._rest = data[len(data) - left :]
                return
            yield self._take(frame)

    def _next_frame(self, stream: StreamReader) -> Frame | None:
        try:
            next(Frame.parse(stream.read_exact, mask=True, max_size=self._max_message, extensions=self._extensions))
        except StopIteration as whole:
            frame: Frame = whole.value
            return frame
        except PayloadTooBig as error:
            raise BadFrame(CloseCode.MESSAGE_TOO_BIG) from error
        except ProtocolError as error:
            raise BadFrame(CloseCode.PROTOCOL_ERROR) from error
        return None

    def _take(self, frame: Frame) -> Received:
        match frame.opcode:
            case Opcode.PING:
                return Ping(bytes(frame.data))
            case Opcode.PONG:
                return Nothing()
            case Opcode.CLOSE:
                return _goodbye(bytes(frame.data))
            case _:
                return self._assemble(frame)

    def _assemble(self, frame: Frame) -> Message | Nothing:
        if (frame.opcode is Opcode.CONT) == (self._opcode is None):
            raise BadFrame(CloseCode.PROTOCOL_ERROR)
        opcode = self._opcode or frame.opcode
        self._body += frame.data
        if len(self._body) > self._max_message:
            raise BadFrame(CloseCode.MESSAGE_TOO_BIG)
        if not frame.fin:
            self._opcode = opcode
            return Nothing()
        body = bytes(self._body)
        self._opcode = None
        self._body.clear()
        if opcode is Opcode.BINARY:
            return Message(None)
        try:
            return Message(body.decode())
        except UnicodeDecodeError as error:
            raise BadFrame(CloseCode.INVALID_DATA) from error


def _goodbye(payload: bytes) -> Goodbye:
    try:
        Close.parse(payload)
    except ProtocolError as error:
        raise BadFrame(CloseCode.PROTOCOL_ERROR) from error
    except UnicodeDecodeError as error:
        raise BadFrame(CloseCode.INVALID_DATA) from error
    return Goodbye(payload)
