"""Bytes of a client become messages, however they are cut; anything else has a close code."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from app.realtime.reading import BadFrame, Goodbye, Message, Nothing, Ping, Reader, Received

MAX_MESSAGE = 4096


def wire(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return bytes(Frame(opcode, data, fin).serialize(mask=True))


def in_fragments(opcode: Opcode, data: bytes, cuts: list[int]) -> bytes:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[start:end] for start, end in itertools.pairwise(edges)]
    opcodes = [opcode] + [Opcode.CONT] * (len(parts) - 1)
    last = len(parts) - 1
    return b"".join(
        wire(code, part, fin=place == last) for place, (code, part) in enumerate(zip(opcodes, parts, strict=True))
    )


def feed(portions: list[bytes]) -> tuple[list[Received], Reader | None]:
    """Read as a client does: with a new reader whenever nothing is incomplete."""
    received: list[Received] = []
    reader: Reader | None = None
    for portion in portions:
        reader = reader or Reader(MAX_MESSAGE)
        received += [item for item in reader.feed(portion) if not isinstance(item, Nothing)]
        reader = None if reader.idle else reader
    return received, reader


def close_code(portions: list[bytes]) -> int | None:
    try:
        feed(portions)
    except BadFrame as bad:
        return bad.code
    return None


MESSAGES = st.one_of(
    st.tuples(st.text(max_size=50), st.lists(st.integers(0, 60), max_size=3)).map(
        lambda drawn: (in_fragments(Opcode.TEXT, drawn[0].encode(), drawn[1]), Message(drawn[0]))
    ),
    st.binary(max_size=300).map(lambda data: (wire(Opcode.BINARY, data), Message(None))),
    st.binary(max_size=125).map(lambda data: (wire(Opcode.PING, data), Ping(data))),
    st.binary(max_size=125).map(lambda data: (wire(Opcode.PONG, data), None)),
)


@given(st.lists(MESSAGES, max_size=8), st.lists(st.integers(0, 2000), max_size=8))
def test_messages_are_the_same_however_they_are_cut(
    messages: list[tuple[bytes, Received | None]], cuts: list[int]
) -> None:
    stream = b"".join(sent for sent, _ in messages)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    received, reader = feed([stream[start:end] for start, end in itertools.pairwise(edges)])
    assert received == [message for _, message in messages if message is not None]
    assert reader is None


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_garbage_ends_with_a_close_code_or_waits_for_more(portions: list[bytes]) -> None:
    assert close_code(portions) in {None, 1002, 1007, 1009}


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (wire(Opcode.TEXT, b"x" * (MAX_MESSAGE + 1)), 1009),
        (wire(Opcode.TEXT, b"x" * MAX_MESSAGE, fin=False) + wire(Opcode.CONT, b"x"), 1009),
        (wire(Opcode.CONT, b"x"), 1002),
        (wire(Opcode.TEXT, b"x", fin=False) + wire(Opcode.TEXT, b"x"), 1002),
        (wire(Opcode.TEXT, b"\xff"), 1007),
        (wire(Opcode.TEXT, b"\xe2\x82", fin=False) + wire(Opcode.CONT, b"("), 1007),
        (wire(Opcode.CLOSE, b"\x03"), 1002),
        (wire(Opcode.CLOSE, b"\x03\xed"), 1002),
        (wire(Opcode.CLOSE, b"\x03\xe8\xff"), 1007),
    ],
)
def test_what_breaks_the_protocol_has_its_close_code(stream: bytes, code: int) -> None:
    assert close_code([stream]) == code


def test_a_character_may_be_cut_between_fragments() -> None:
    euro = "€".encode()
    assert feed([in_fragments(Opcode.TEXT, euro, [1, 2])])[0] == [Message("€")]


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x0f\xa1bye"])
def test_a_close_is_answered_with_what_it_says(payload: bytes) -> None:
    assert feed([wire(Opcode.CLOSE, payload)])[0] == [Goodbye(payload)]


def test_empty_fragments_without_end_take_no_memory() -> None:
    reader = Reader(MAX_MESSAGE)
    assert list(reader.feed(wire(Opcode.TEXT, b"", fin=False))) == [Nothing()]
    for _ in range(10_000):
        assert list(reader.feed(wire(Opcode.CONT, b"", fin=False))) == [Nothing()]
    assert not reader._rest
    assert not reader._body
