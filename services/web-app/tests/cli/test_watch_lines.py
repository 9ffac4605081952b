"""The lines of `vulsctl watch`."""

from typing import Any

import pytest

from app.cli.watch_lines import words

COUNTS = {"cancelled": 0, "queued": 0, "started": 0, "high": 0, "medium": 0, "low": 0, "unknown": 0}
CLEAN = COUNTS | {"events": 30, "success": 30, "assessed": 30, "not_assessed": 0, "vulnerabilities": 0}
MIXED = {"events": 264, "success": 222, "assessed": 219, "not_assessed": 3, "vulnerabilities": 812} | {
    "cancelled": 4,
    "queued": 20,
    "started": 18,
    "high": 120,
    "medium": 402,
    "low": 250,
    "unknown": 40,
}
MIXED_LINE = (
    "264 updates: 222 finished, 219 assessed: 812 vulnerabilities (120 high, 402 medium, 250 low, 40 unknown), "
    "3 not assessed; besides 4 cancelled, 20 queued, 18 started"
)


@pytest.mark.parametrize(
    ("data", "line"),
    [(MIXED, MIXED_LINE), (CLEAN, "30 updates: 30 finished, 30 assessed: no known vulnerabilities")],
)
def test_a_digest_is_one_line_whose_numbers_add_up(data: dict[str, Any], line: str) -> None:
    assert words({"type": "digest", "id": "e-9", "data": data})[21:] == f"digest     {line}"


def test_changed_findings_are_one_line_of_their_host() -> None:
    none = {"total": 0, "critical": 0}
    data = {"host_name": "web-1", "reappeared": none, "severity_changed": {"total": 3}, "fixed": {"total": 1}}
    message = {"type": "findings_changed", "data": data | {"new": {"total": 2, "critical": 1}}}
    assert words(message)[21:] == "changed    web-1: 2 new (1 critical), 3 changed in severity, 1 fixed"


@pytest.mark.parametrize(
    "message",
    [
        {"type": "task_update", "data": {"task_name": "\x1b]0;owned\x07\x9b2J", "status": "success"}},
        {"type": "\x1b[2J", "data": {"a": "\n"}},
        {"type": "task_update", "data": None},
        {"type": "findings_changed", "data": {"host_name": "\x1b[2J", "new": None}},
        {"type": "task_update", "data": {"timestamp": "never", "result_data": None}},
    ],
)
def test_a_message_never_commands_the_terminal_and_never_breaks_the_line(message: dict[str, Any]) -> None:
    assert words(message).isprintable()


def test_a_connection_that_works_is_said_in_words() -> None:
    data = {"task_name": "Test connection of web-1", "host_name": "web-1", "kind": "check", "status": "success"}
    message = {"type": "task_update", "data": data | {"result_data": {"kind": "check"}}}
    assert words(message)[21:] == "success    Test connection of web-1 (web-1): connection to web-1 works"
