"""What a server must make of the bytes of a client: RFC 6455 and docs/protocol.md, written down a second time."""

import struct
from dataclasses import dataclass, field

from tests.chaos.wire import Op, masked

MAX_MESSAGE = 4096
ERRORS = 5  # messages unknown to the protocol, until the end
ABUSE, PROTOCOL, BAD_DATA, TOO_BIG = 4009, 1002, 1007, 1009
_KNOWN_CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}


@dataclass
class Verdict:
    """`ends`: close codes any of which is right; none: the connection stays. `whole`: nothing is incomplete."""

    pongs: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # `pong` and `error`
    ends: set[int | None] = field(default_factory=set)  # None: an empty close
    whole: bool = True

    @property
    def bad(self) -> int:
        """The number of frames that are malformed or that the protocol does not know."""
        return self.texts.count("error") + (bool(self.ends - {None, 1000}) or not self.whole)


@dataclass
class _Frame:
    opcode: int
    fin: bool
    payload: bytes
    faults: set[int]


class _Incomplete(Exception):  # noqa: N818
    """The rest may still come. `faults` are those that the head shows already."""

    def __init__(self, faults: set[int]) -> None:
        super().__init__()
        self.faults = faults


def judge(data: bytes, *, in_order: bool = True) -> Verdict:
    """Return what must happen to a client that sends `data` right after its handshake.

    Without `in_order` the frames of a whole portion are read before its messages are looked at, as a server behind ASGI
    does: a later fault of framing may then be the one that counts.
    """
    return _Judge(in_order=in_order).judge(data)


class _Judge:
    def __init__(self, *, in_order: bool) -> None:
        self._in_order = in_order
        self._verdict = Verdict()
        self._opcode: int | None = None  # of the message whose parts are in `_body`
        self._body = b""

    def judge(self, data: bytes) -> Verdict:
        over = False
        while data and not over:
            try:
                frame, data = _next_frame(data)
            except _Incomplete as rest:
                self._verdict.ends |= rest.faults  # a server may tell at once, or wait for the rest
                self._verdict.whole = False
                return self._verdict
            over = self._take(frame)
        self._verdict.whole = over or self._opcode is None
        return self._verdict

    def _take(self, frame: _Frame) -> bool:
        """Judge a frame; say whether the server looks at nothing that follows."""
        if frame.faults:
            self._verdict.ends |= frame.faults
            return True
        if frame.opcode == Op.CLOSE:
            self._verdict.ends |= _goodbye(frame.payload)
            if self._opcode is not None:  # in the middle of a message: RFC 6455 allows it, some call it an error
                self._verdict.ends.add(PROTOCOL)
            return True
        if frame.opcode == Op.PING:
            self._verdict.pongs.append(frame.payload)
        elif frame.opcode != Op.PONG:
            return self._take_part(frame)
        return False

    def _take_part(self, frame: _Frame) -> bool:
        if (frame.opcode == Op.CONTINUATION) == (self._opcode is None):
            self._verdict.ends.add(PROTOCOL)
            return True
        self._opcode = frame.opcode if self._opcode is None else self._opcode
        self._body += frame.payload
        faults = _body_faults(self._opcode, self._body, fin=frame.fin)
        self._verdict.ends |= faults
        if frame.fin:
            if not faults:
                self._receive()
            self._opcode, self._body = None, b""
        return TOO_BIG in faults or (self._in_order and bool(self._verdict.ends))

    def _receive(self) -> None:
        known = self._opcode == Op.TEXT and self._body == b"ping"
        self._verdict.texts.append("pong" if known else "error")
        if self._verdict.texts.count("error") >= ERRORS:
            self._verdict.ends.add(ABUSE)


def _next_frame(data: bytes) -> tuple[_Frame, bytes]:
    if len(data) < 2:
        raise _Incomplete(set())
    first, second = data[0], data[1]
    opcode, fin, at, size = first & 15, bool(first & 0x80), 2, second & 0x7F
    known = opcode in set(Op) and bool(second & 0x80)
    faults = {PROTOCOL} if first & 0x70 or not known else set()
    if size >= 126:
        form = "!H" if size == 126 else "!Q"
        if len(data) < at + struct.calcsize(form):
            raise _Incomplete(faults)
        (size,) = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
    if size >= 2**63 or (opcode >= 8 and (size > 125 or not fin)):
        faults.add(PROTOCOL)
    if size > MAX_MESSAGE:
        faults.add(TOO_BIG)
    if size > MAX_MESSAGE or not known:  # nobody waits for the rest of it
        return _Frame(opcode, fin, b"", faults), b""
    if len(data) < at + 4 + size:
        raise _Incomplete(faults)
    return _Frame(opcode, fin, masked(data[at + 4 : at + 4 + size], data[at : at + 4]), faults), data[at + 4 + size :]


def _body_faults(opcode: int, body: bytes, *, fin: bool) -> set[int]:
    faults = set()
    if len(body) > MAX_MESSAGE:
        faults.add(TOO_BIG)
    if opcode == Op.TEXT and (fin or faults):
        try:
            body.decode()
        except UnicodeDecodeError:
            faults.add(BAD_DATA)
    return faults


def _goodbye(payload: bytes) -> set[int | None]:
    if not payload:
        return {None}
    if len(payload) == 1:
        return {PROTOCOL}
    (code,) = struct.unpack("!H", payload[:2])
    faults: set[int | None] = set()
    if code not in _KNOWN_CODES and not 3000 <= code < 5000:
        faults.add(PROTOCOL)
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        faults.add(BAD_DATA)
    return faults or {code}
