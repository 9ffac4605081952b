"""What Vuls says on stderr: clean lines, and how far it is.

Vuls reports no percentage; these lines have been the same for years (recorded with v0.40.1).
"""

import re

from executor.jobs import Step

LOG_LINES = 200
LINE_CHARACTERS = 4000

# Escape sequences (ECMA-48 CSI, OSC and two-character ones), then every control character but the tab.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")

_MARKS: dict[Step, tuple[tuple[re.Pattern[str], str], ...]] = {
    Step.SCAN: (
        (re.compile(r'msg="Start scanning"'), "starting"),
        (re.compile(r'msg="Validating config'), "validating"),
        (re.compile(r'msg="Detecting OS of servers'), "connecting"),
        (re.compile(r'msg="\(\d+/\d+\) Detected: '), "connected"),
        (re.compile(r'msg="Detecting Platforms'), "detecting_platform"),
        (re.compile(r'msg="Scanning OS pkg in '), "collecting_packages"),
    ),
    Step.REPORT: (
        (re.compile(r'msg="Validating config'), "loading"),
        (re.compile(r'msg="Loaded: '), "matching"),
        (re.compile(r'msg="[^" ]+: total \d+ CVEs detected"'), "matched"),
    ),
}

FIRST = {Step.SCAN: "starting", Step.REPORT: "loading"}
"""The phase of a program that has said nothing yet."""


def clean(raw: bytes) -> tuple[str, ...]:
    """Return the last lines of a program's output without colours and control characters, long ones cut."""
    text = _ESCAPE.sub("", raw.decode("utf-8", errors="replace"))
    lines = (_CONTROL.sub("", line) for line in text.split("\n"))
    return tuple(line[:LINE_CHARACTERS] for line in lines if line)[-LOG_LINES:]


def phase_of(step: Step, lines: tuple[str, ...]) -> str | None:
    """Return the phase that the lines tell of, or None when they tell nothing."""
    for line in reversed(lines):
        for pattern, phase in _MARKS[step]:
            if pattern.search(line):
                return phase
    return None
