"""What `make test` says at its end of a part that failed."""

import subprocess
from pathlib import Path

import pytest

TEST = Path(__file__).resolve().parents[2] / "scripts/test.sh"


def reasons(log: Path, text: str) -> list[str]:
    log.write_text(text)
    result = subprocess.run([TEST, "--reasons", log], capture_output=True, text=True, timeout=30, check=True)
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    "line",
    [
        "fatal: [vuls-db]: FAILED! =>",
        "FAILED tests/e2e/test_latency.py::test_x - AssertionError: late",
        "E   AssertionError: not within 10 s: an open socket",
        "[  12s] images: ERROR: mmdebstrap could not build trixie",
        "FAIL  ruff-check        1s  (exit status 1)",
        "not ok 3 - a cursor is kept",
    ],
)
def test_the_line_that_says_why_is_found_among_the_others(tmp_path: Path, line: str) -> None:
    assert reasons(tmp_path / "log", f"collected 4 items\n{line}\nTASK [destroy]\nok: [localhost]\n") == [f"  {line}"]


def test_colours_and_repetitions_are_left_out(tmp_path: Path) -> None:
    coloured = "\x1b[31mERROR\x1b[0m    default: verify\r\n"
    assert reasons(tmp_path / "log", coloured * 3) == ["  ERROR    default: verify"]


def test_the_last_eight_lines_of_at_most_160_characters_are_shown(tmp_path: Path) -> None:
    shown = reasons(tmp_path / "log", "".join(f"Error {number} {'x' * 300}\n" for number in range(20)))
    assert [line.split()[1] for line in shown] == [str(number) for number in range(12, 20)]
    assert {len(line) for line in shown} == {160}


def test_a_log_without_such_a_line_shows_its_end(tmp_path: Path) -> None:
    assert reasons(tmp_path / "log", "one\ntwo\n\nthree\nfour\n") == ["  two", "  three", "  four"]


def test_an_empty_log_is_no_error(tmp_path: Path) -> None:
    assert not "".join(reasons(tmp_path / "log", "")).strip()
