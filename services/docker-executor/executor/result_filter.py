"""A program of its own: reads a result file that nobody trusts on stdin, writes it without `config` to stdout.

It is a process so that a hostile file costs nobody else anything: the memory and the time that it may take end the
process alone, and while it parses, the executor's threads run on.

Usage: python result_filter.py SERVER LIMIT. LIMIT is the greatest size of the file in bytes; memory and the number of
values follow from it. Exit statuses: 0, those of `Refusal`, or any other where the limits ended it.
"""

import os
import re
import resource
import sys
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

CPU_SECONDS = 30
MEMORY_FACTOR = 16  # bytes of address space a byte of LIMIT; a real result of 60 MiB takes 7
LEAST_MEMORY = 256 * 1024 * 1024
BYTES_A_VALUE = 16  # of LIMIT; in a real result a value takes 24
_CHUNK = 1024 * 1024
_STARTS_OF_VALUES = b",[{"  # each begins a value, or stands in a text
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_INTEGERS = range(-(2**63), 2**64)  # of 64 bits, with or without a sign: what those who read it further can hold


class Refusal(IntEnum):
    """Why a file is no result, as exit status."""

    TOO_LARGE = 10
    NOT_JSON = 11
    OTHER_SERVER = 12
    TOO_MANY_VALUES = 13
    NUMBER = 14


class Refused(Exception):  # noqa: N818 (no error of this program)
    """The file is refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.name)
        self.refusal = refusal


def filtered(raw: bytes, server: str, limit: int) -> bytes:
    """Return the result without `config`, as compact JSON in UTF-8. Raises Refused.

    It is parsed as those who read it further do, as a member of something else, and with their limits: 200 levels,
    whole characters, integers of 64 bits. What passes is therefore readable for them.
    """
    if len(raw) > limit:
        raise Refused(Refusal.TOO_LARGE)
    if sum(raw.count(start) for start in _STARTS_OF_VALUES) > limit // BYTES_A_VALUE:
        raise Refused(Refusal.TOO_MANY_VALUES)
    try:
        [result] = from_json(b"[" + raw + b"]", allow_inf_nan=False)
    except ValueError as error:
        raise Refused(Refusal.NOT_JSON) from error
    if not isinstance(result, dict) or result.get("serverName") != server:
        raise Refused(Refusal.OTHER_SERVER)
    result.pop("config", None)
    text = to_json(result, inf_nan_mode="constants")
    if (_LONG_NUMBER.search(text) or b"Infinity" in text) and not _has_sane_numbers(result):
        raise Refused(Refusal.NUMBER)
    if len(text) > limit:
        raise Refused(Refusal.TOO_LARGE)
    return text


def _has_sane_numbers(value: Any) -> bool:  # noqa: ANN401 (anything that JSON can say)
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as members:
                waiting.extend(members.values())
            case list() as items:
                waiting.extend(items)
            case int() as number if number not in _INTEGERS:
                return False
            case float() as number if number - number != 0:  # too great to be held: infinite
                return False
    return True


def _limit_itself(limit: int) -> None:
    """Take no more memory and time than a result may need, and be the first to go where the host runs out of memory."""
    memory = max(LEAST_MEMORY, limit * MEMORY_FACTOR)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _read(limit: int) -> bytes:
    """Return the file, or as much of it as shows that it is too large."""
    chunks, size = [], 0
    while size <= limit and (chunk := os.read(sys.stdin.fileno(), _CHUNK)):
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def main() -> None:
    """Filter stdin to stdout."""
    server, limit = sys.argv[1], int(sys.argv[2])
    _limit_itself(limit)
    try:
        text = filtered(_read(limit), server, limit)
    except Refused as error:
        sys.exit(error.refusal)
    sys.stdout.buffer.write(text)


if __name__ == "__main__":
    main()
