"""Bytes that a WebSocket server must refuse, drawn from a seed."""

import random

from tests.chaos.wire import Op, close_frame, frame

BAD_UTF8 = (  # Autobahn, sections 6.3 to 6.23
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\xf4\x90\x80\x80",
    b"\xf5",
    b"\x80",
    b"\xbf\x80",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xf0\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xc1\xbf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xff",
    b"\xfe\xfe\xff\xff",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
)
BAD_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


class Garbage:
    """Streams of frames of which at least one is malformed, or seems to be."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kinds = (
            self._reserved, self._opcode, self._unmasked, self._long_control, self._cut_control, self._odd_length,
            self._huge_length, self._stray, self._nested, self._utf8, self._close, self._too_big, self._too_many_parts,
            self._truncated, self._flipped, self._noise,
        )  # fmt: skip

    def stream(self) -> bytes:
        """Return what one client sends: frames that are whole, known or not, then a wrong one, then perhaps more."""
        draw = self._random
        before = b"".join(self._valid() for _ in range(draw.choice((0, 2, 4, 5))))
        after = self._noise() if draw.random() < 0.1 else b""
        return before + draw.choice(self._kinds)() + after

    def _bytes(self, low: int, high: int) -> bytes:
        return self._random.randbytes(self._random.randint(low, high))

    def _mask(self) -> bytes:
        return self._random.choice((bytes(4), b"\xff\xff\xff\xff", self._random.randbytes(4)))

    def _valid(self) -> bytes:
        draw = self._random
        return draw.choice(
            (
                lambda: frame(Op.TEXT, b"ping", mask=self._mask()),
                lambda: frame(Op.PING, self._bytes(0, 125), mask=self._mask()),
                lambda: frame(Op.PONG, self._bytes(0, 125), mask=self._mask()),
                lambda: frame(Op.TEXT, b'{"type": "subscribe"}', mask=self._mask()),
                lambda: frame(Op.TEXT, b"\xf0\x9f\x98\x80" * draw.randint(0, 300), mask=self._mask()),
                lambda: frame(Op.BINARY, self._bytes(0, 4096), mask=self._mask()),
                lambda: frame(Op.TEXT, b"pi", fin=False) + frame(Op.PING, b"x") + frame(Op.CONTINUATION, b"ng"),
            )
        )()

    def _any_opcode(self) -> Op:
        return self._random.choice(list(Op))

    def _reserved(self) -> bytes:
        return frame(self._any_opcode(), self._bytes(0, 125), reserved=self._random.randint(1, 7), mask=self._mask())

    def _opcode(self) -> bytes:
        unknown = self._random.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15))
        return frame(unknown, self._bytes(0, 300), fin=self._random.random() < 0.5)

    def _unmasked(self) -> bytes:
        return frame(self._any_opcode(), self._bytes(0, 300), mask=None)

    def _long_control(self) -> bytes:
        return frame(self._random.choice((Op.CLOSE, Op.PING, Op.PONG)), self._bytes(126, 1000))

    def _cut_control(self) -> bytes:
        return frame(self._random.choice((Op.CLOSE, Op.PING, Op.PONG)), self._bytes(0, 125), fin=False)

    def _odd_length(self) -> bytes:
        return frame(self._any_opcode(), self._bytes(0, 125), length_bits=self._random.choice((16, 64)))

    def _huge_length(self) -> bytes:
        length = self._random.choice((4097, 65535, 65536, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1))
        return frame(self._any_opcode(), self._bytes(0, 300), length=length, length_bits=64)

    def _stray(self) -> bytes:
        return frame(Op.CONTINUATION, self._bytes(0, 300), fin=self._random.random() < 0.5)

    def _nested(self) -> bytes:
        first, second = (self._random.choice((Op.TEXT, Op.BINARY)) for _ in range(2))
        return frame(first, b"x" * 10, fin=False) + frame(second, b"y" * 10, fin=self._random.random() < 0.5)

    def _utf8(self) -> bytes:
        whole = b"ok " * self._random.randint(0, 5) + self._random.choice(BAD_UTF8)
        cut = self._random.randint(0, len(whole))
        if self._random.random() < 0.5:
            return frame(Op.TEXT, whole, mask=self._mask())
        return frame(Op.TEXT, whole[:cut], fin=False) + frame(Op.CONTINUATION, whole[cut:])

    def _close(self) -> bytes:
        draw = self._random
        return draw.choice(
            (
                lambda: close_frame(draw.choice(BAD_CODES), b"why"),
                lambda: frame(Op.CLOSE, b"\x03"),
                lambda: close_frame(1000, draw.choice(BAD_UTF8)),
                lambda: frame(Op.CLOSE, self._bytes(2, 125)),
            )
        )()

    def _too_big(self) -> bytes:
        return frame(self._random.choice((Op.TEXT, Op.BINARY)), b"x" * self._random.randint(4097, 9000))

    def _too_many_parts(self) -> bytes:
        size = self._random.choice((100, 500, 4096))
        parts = 4096 // size + 1
        body = frame(Op.CONTINUATION, b"x" * size, fin=False) * parts
        return frame(Op.TEXT, b"", fin=False) + body + frame(Op.CONTINUATION, b"")

    def _truncated(self) -> bytes:
        whole = frame(self._any_opcode(), self._bytes(0, 125), length_bits=self._random.choice((7, 16, 64)))
        return whole[: self._random.randint(1, len(whole))]

    def _flipped(self) -> bytes:
        whole = bytearray(b"".join(self._valid() for _ in range(self._random.randint(1, 3))))
        for _ in range(self._random.randint(1, 4)):
            whole[self._random.randrange(len(whole))] ^= 1 << self._random.randrange(8)
        return bytes(whole)

    def _noise(self) -> bytes:
        return self._bytes(2, 200)
