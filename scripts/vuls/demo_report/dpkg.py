"""Debian package versions in the order that deb-version(7) gives them."""

from itertools import zip_longest
from typing import NamedTuple


class Version(NamedTuple):
    """A version in its three parts: `[epoch:]upstream[-revision]`."""

    epoch: int
    upstream: str
    revision: str


def parse(text: str) -> Version:
    """Split a version as dpkg does: epoch up to the first colon, revision from the last hyphen.

    Raises ValueError when there is no upstream part or the epoch is not a number.
    """
    head, colon, rest = text.strip().partition(":")
    epoch = int(head) if colon else 0
    upstream, hyphen, revision = (rest if colon else head).rpartition("-")
    if not hyphen:
        upstream, revision = revision, ""
    if not upstream:
        raise ValueError("no upstream version", text)
    return Version(epoch, upstream, revision)


def compare(left: str, right: str) -> int:
    """Return -1, 0 or 1 as `left` is older than, as old as or newer than `right`."""
    a, b = parse(left), parse(right)
    return _sign(a.epoch - b.epoch) or _compare_part(a.upstream, b.upstream) or _compare_part(a.revision, b.revision)


def _compare_part(left: str, right: str) -> int:
    """Compare by turns a run of non-digits and a run of digits, as deb-version(7) says."""
    while left or right:
        text_left, left = _split(left, digits=False)
        text_right, right = _split(right, digits=False)
        for a, b in zip_longest(text_left, text_right, fillvalue=""):
            if order := _sign(_weight(a) - _weight(b)):
                return order
        number_left, left = _split(left, digits=True)
        number_right, right = _split(right, digits=True)
        if order := _sign(int(number_left or "0") - int(number_right or "0")):
            return order
    return 0


def _split(text: str, *, digits: bool) -> tuple[str, str]:
    """Cut off the leading run of digits (or of anything else)."""
    for position, character in enumerate(text):
        if (character in "0123456789") is not digits:
            return text[:position], text[position:]
    return text, ""


def _weight(character: str) -> int:
    """Rank a tilde before the end of the part, the end before letters, letters before everything else."""
    if character == "~":
        return -1
    if not character:
        return 0
    return ord(character) if character.isascii() and character.isalpha() else ord(character) + 256


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
