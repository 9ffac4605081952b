"""Framing, case by case: sections as in the Autobahn test suite, as far as they concern a server that takes the text
`ping` and little of it."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.garbage import BAD_CODES, BAD_UTF8
from tests.chaos.verdict import ABUSE, BAD_DATA, PROTOCOL, TOO_BIG
from tests.chaos.wire import Op, close_frame, frame

PONG_TEXT, ERROR = (Op.TEXT, "pong"), (Op.TEXT, "error")


@dataclass(frozen=True)
class Case:
    """What is sent, which answers come, and the close code (0: an empty close) or None: it stays open."""

    sent: bytes
    answers: tuple[tuple[Op, str | bytes], ...] = ()
    code: int | None = None

    @property
    def pongs(self) -> list[str | bytes]:
        return [answer for kind, answer in self.answers if kind is Op.PONG]

    @property
    def texts(self) -> list[str | bytes]:
        return [answer for kind, answer in self.answers if kind is Op.TEXT]


def pong(payload: bytes = b"") -> tuple[Op, bytes]:
    return (Op.PONG, payload)


def text(payload: bytes, **more: Any) -> bytes:
    return frame(Op.TEXT, payload, **more)


def rest(payload: bytes, **more: Any) -> bytes:
    return frame(Op.CONTINUATION, payload, **more)


def _framing() -> Iterator[tuple[str, Case]]:
    yield "1.1 the text that is known", Case(text(b"ping"), (PONG_TEXT,))
    for size in (0, 125, 126, 127, 128, 4095, 4096):
        yield f"1.1 text of {size}", Case(text(b"*" * size), (ERROR,))
        yield f"1.2 binary of {size}", Case(frame(Op.BINARY, b"\xfe" * size), (ERROR,))
    for opcode in (Op.TEXT, Op.BINARY):
        for size in (4097, 65535, 65536, 200_000):
            yield f"1.{opcode} of {size}", Case(frame(opcode, b"*" * size), code=TOO_BIG)
        yield f"1.{opcode} of 2^63", Case(frame(opcode, b"*", length=2**63, length_bits=64), code=TOO_BIG)
    for bits in (16, 64):
        yield f"1.1 length in {bits} bits without need", Case(text(b"ping", length_bits=bits), (PONG_TEXT,))
    yield "1.1 zero mask", Case(text(b"ping", mask=bytes(4)), (PONG_TEXT,))
    yield "1.1 unmasked", Case(text(b"ping", mask=None), code=PROTOCOL)


def _pings() -> Iterator[tuple[str, Case]]:
    for size in (0, 1, 124, 125):
        yield f"2.1 ping of {size}", Case(frame(Op.PING, b"\xfe" * size), (pong(b"\xfe" * size),))
    yield "2.5 ping of 126", Case(frame(Op.PING, b"*" * 126), code=PROTOCOL)
    yield "2.7 pong that nobody asked for", Case(frame(Op.PONG) + frame(Op.PING, b"x"), (pong(b"x"),))
    yield "2.8 pong with payload", Case(frame(Op.PONG, b"unasked") + frame(Op.PING, b"x"), (pong(b"x"),))
    ten = [b"%d" % number for number in range(10)]
    yield "2.10 ten pings", Case(b"".join(frame(Op.PING, item) for item in ten), tuple(pong(item) for item in ten))


def _reserved() -> Iterator[tuple[str, Case]]:
    for bits in range(1, 8):
        yield f"3 reserved bits {bits} in text", Case(text(b"ping", reserved=bits), code=PROTOCOL)
    for opcode in (Op.BINARY, Op.PING, Op.PONG, Op.CLOSE):
        yield f"3.5 reserved bits in {opcode.name}", Case(frame(opcode, b"", reserved=4), code=PROTOCOL)
    for unknown in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield f"4 opcode {unknown}", Case(frame(unknown), code=PROTOCOL)
        yield f"4 opcode {unknown} with payload", Case(frame(unknown, b"payload"), code=PROTOCOL)


def _fragments() -> Iterator[tuple[str, Case]]:
    yield "5.1 ping in parts", Case(frame(Op.PING, b"a", fin=False) + rest(b"b"), code=PROTOCOL)
    yield "5.2 pong in parts", Case(frame(Op.PONG, b"a", fin=False) + rest(b"b"), code=PROTOCOL)
    yield "5.3 two parts", Case(text(b"pi", fin=False) + rest(b"ng"), (PONG_TEXT,))
    parts = [b"p", b"", b"in", b"", b"g"]
    many = text(b"", fin=False) + b"".join(rest(part, fin=False) for part in parts) + rest(b"")
    yield "5.4 parts of which some are empty", Case(many, (PONG_TEXT,))
    between = text(b"pi", fin=False) + frame(Op.PING, b"between") + rest(b"ng")
    yield "5.6 ping between the parts", Case(between, (pong(b"between"), PONG_TEXT))
    for fin in (True, False):
        yield f"5.9 stray continuation, fin {fin}", Case(rest(b"x", fin=fin) + text(b"ping"), code=PROTOCOL)
    yield "5.15 continuation after the end", Case(text(b"pi", fin=False) + rest(b"ng") + rest(b"x"), code=PROTOCOL)
    yield "5.18 text in a text", Case(text(b"pi", fin=False) + text(b"ng"), code=PROTOCOL)
    yield "5.18 binary in a text", Case(text(b"pi", fin=False) + frame(Op.BINARY, b"ng"), code=PROTOCOL)
    whole = text(b"*" * 2048, fin=False) + rest(b"*" * 2048)
    yield "5.19 parts as large as may be", Case(whole, (ERROR,))
    yield "5.20 parts too large together", Case(text(b"*" * 4096, fin=False) + rest(b"*"), code=TOO_BIG)
    endless = text(b"", fin=False) + rest(b"*" * 100, fin=False) * 60
    yield "5.20 parts too large before the last", Case(endless, code=TOO_BIG)


def _utf8() -> Iterator[tuple[str, Case]]:
    good = "κόσμε \U0001f600 \ufffe \U0010ffff \0".encode()
    yield "6.2 valid", Case(text(good), (ERROR,))
    for cut in range(1, len(good)):
        yield f"6.2 valid, cut at {cut}", Case(text(good[:cut], fin=False) + rest(good[cut:]), (ERROR,))
    for number, bad in enumerate(BAD_UTF8):
        yield f"6.3 bad {number}", Case(text(b"ok " + bad), code=BAD_DATA)
        yield f"6.4 bad {number} in parts", Case(text(bad[:1], fin=False) + rest(bad[1:]), code=BAD_DATA)


def _closes() -> Iterator[tuple[str, Case]]:
    yield "7.1.1 close", Case(close_frame(1000), code=1000)
    yield "7.1.2 two closes", Case(close_frame(1000) * 2, code=1000)
    yield "7.1.3 ping after the close", Case(close_frame(1000) + frame(Op.PING, b"late"), code=1000)
    yield "7.1.4 text after the close", Case(close_frame(1001) + text(b"ping"), code=1001)
    yield "7.3.1 empty close", Case(close_frame(), code=0)
    yield "7.3.2 close of one byte", Case(frame(Op.CLOSE, b"a"), code=PROTOCOL)
    yield "7.3.4 close with a reason", Case(close_frame(1000, b"Hello"), code=1000)
    yield "7.3.5 the longest reason", Case(close_frame(1000, b"*" * 123), code=1000)
    yield "7.3.6 too long a reason", Case(close_frame(1000, b"*" * 124), code=PROTOCOL)
    yield "7.5.1 bad UTF-8 in the reason", Case(close_frame(1000, b"\xce\xba\xed\xa0\x80"), code=BAD_DATA)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield f"7.7 code {code}", Case(close_frame(code), code=code)
    for code in BAD_CODES:
        yield f"7.9 code {code}", Case(close_frame(code), code=PROTOCOL)


def _abuse() -> Iterator[tuple[str, Case]]:
    yield "the fifth unknown message", Case(text(b"?") * 5, code=ABUSE)
    yield "unknown and binary count alike", Case((text(b"?") + frame(Op.BINARY, b"ping")) * 3, code=ABUSE)
    yield "four unknown messages", Case(text(b"?") * 4, (ERROR,) * 4)


CASES = dict(itertools.chain(_framing(), _pings(), _reserved(), _fragments(), _utf8(), _closes(), _abuse()))
