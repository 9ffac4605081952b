"""A cursor is text that only this system makes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.cursor import BadCursor, Cursor


@given(st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True), st.integers(0, 2**63 - 1))
def test_a_cursor_survives_the_wire(epoch: str, sequence: int) -> None:
    if epoch.isascii():
        cursor = Cursor(epoch, sequence)
        assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "k3f9",
        "k3f9-",
        "-1",
        "k3f9--1",
        "k3f9-01",
        "k3f9-1 ",
        "k3f9-1\n",
        "K3F9-1",
        "k3f9-٣",
        "k3f9-1.0",
        "k3f9-9223372036854775808",
        "k3f9-" + "9" * 5000,
        "x" * 33 + "-1",
        "a'; DROP TABLE event; --1",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        Cursor.parse(text)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(BadCursor):
        assert str(Cursor.parse(text)) == text
