import pytest

from executor.jobs import Step
from executor.phases import LINE_CHARACTERS, LOG_LINES, clean, phase_of
from tests.harness import RECORDINGS


def lines_of(recording: str) -> tuple[str, ...]:
    return clean((RECORDINGS / recording / "stderr").read_bytes())


@pytest.mark.parametrize(
    ("recording", "phases"),
    [
        ("scan-ok", ["starting", "validating", "connecting", "connected", "detecting_platform", "collecting_packages"]),
        ("scan-ok-debian13", ["starting", "validating", "connecting", "connected", "detecting_platform"]),
        ("scan-sigterm", ["starting", "validating", "connecting"]),
        ("scan-not-in-config", ["starting"]),
        ("scan-unknown-host-key", ["starting", "validating", "connecting", "detecting_platform"]),
        ("report-ok", ["loading", "matching", "matched"]),
        ("report-db-missing", ["loading", "matching"]),
        ("report-no-results", []),
    ],
)
def test_the_phases_of_a_recorded_run_come_in_their_order(recording: str, phases: list[str]) -> None:
    step = Step.SCAN if recording.startswith("scan") else Step.REPORT
    lines = lines_of(recording)
    seen: list[str] = []
    for end in range(len(lines) + 1):
        phase = phase_of(step, lines[:end])
        if phase is not None and phase not in seen:
            seen.append(phase)
    assert seen[: len(phases)] == phases


@pytest.mark.parametrize("recording", sorted(path.name for path in RECORDINGS.glob("*-*/")))
def test_recorded_lines_pass_through_unchanged(recording: str) -> None:
    raw = (RECORDINGS / recording / "stderr").read_text()
    assert list(lines_of(recording)) == [line[:LINE_CHARACTERS] for line in raw.splitlines() if line]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\x1b[31mred\x1b[0m \x1b[1;32mgreen\x1b[m", "red green"),
        (b"\x1b]0;a title\x07text", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"50%\r100%\x08\x00", "50%100%"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"\xc2\x9b31mC1", "31mC1"),
        (b"a\tb", "a\tb"),
    ],
)
def test_colours_and_control_characters_are_taken_out(raw: bytes, expected: str) -> None:
    assert clean(raw) == (expected,)


def test_the_log_is_limited_in_lines_and_in_their_length() -> None:
    lines = clean(b"x" * 100_000 + b"\n" + b"".join(b"%d\n" % n for n in range(10_000)))
    assert len(lines) == LOG_LINES
    assert lines[-1] == "9999"
    assert len(clean(b"x" * 100_000)[0]) == LINE_CHARACTERS


def test_a_line_that_only_quotes_a_mark_is_no_phase() -> None:
    assert phase_of(Step.SCAN, ('level=error msg="t1: said msg=Start scanning"',)) is None
