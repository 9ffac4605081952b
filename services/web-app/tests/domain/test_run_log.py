"""A log is put together without loss or repeat, and keeps secrets to itself."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.run_log import MASK, MAX_LINE, mask, mask_lines, new_lines

WINDOW = 5  # of each program; the executor's is longer


def window(scan: list[str], report: list[str]) -> list[str]:
    return scan[-WINDOW:] + report[-WINDOW:]


@st.composite
def looks(draw: st.DrawFn) -> list[tuple[list[str], list[str]]]:
    """What the programs had said at each look; of each window a line at least was in the one before."""
    steps = st.lists(st.integers(0, WINDOW - 1), max_size=12)
    scan = [0, *draw(steps)]
    report = [0, *draw(steps)]
    lines = [f"scan {number}" for number in range(sum(scan))], [f"report {number}" for number in range(sum(report))]
    course = [(sum(scan[: step + 1]), 0) for step in range(len(scan))]
    course += [(sum(scan), sum(report[: step + 1])) for step in range(len(report))]
    return [(lines[0][:first], lines[1][:second]) for first, second in course]


@given(looks())
def test_every_line_comes_once_and_in_order_with_only_the_last_lines_to_go_by(
    seen: list[tuple[list[str], list[str]]],
) -> None:
    log: list[str] = []
    for scan, report in seen:
        log += new_lines(log[-2 * WINDOW :], window(scan, report))
    scan, report = seen[-1]
    assert log == scan + report


def test_a_line_that_is_repeated_is_repeated() -> None:
    log: list[str] = []
    for count in (1, 3, 3, 5):
        log += new_lines(log, ["retrying"] * count)
    assert log == ["retrying"] * 5


def test_a_scan_that_was_missed_for_long_goes_on_with_what_is_there() -> None:
    scan = [f"scan {number}" for number in range(30)]
    report = [f"report {number}" for number in range(30)]
    assert new_lines(window(scan[:10], []), window(scan[:20], [])) == scan[15:20]
    log = window(scan, report[:3])
    assert new_lines(log, window(scan, report)) == report[-WINDOW:]


def test_a_job_that_began_anew_is_taken_as_a_whole() -> None:
    lines = ['time="05:50:47" msg=one', 'time="05:50:47" msg=two']
    again = ['time="05:51:12" msg=one']
    assert new_lines(lines, again) == again
    assert new_lines(lines, []) == []


KEY = [
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    *["b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW"] * 3,
    "tZWQ=",
    "-----END OPENSSH PRIVATE KEY-----",
]


def test_nothing_of_a_private_key_is_left_but_its_place() -> None:
    assert mask_lines(["before", *KEY, "after"]) == ["before", *[MASK] * len(KEY), "after"]


def test_the_rest_of_a_key_whose_beginning_is_out_of_sight_is_masked() -> None:
    assert mask_lines([KEY[1], "after"]) == [MASK, "after"]


def test_words_about_a_key_hide_nothing_that_follows() -> None:
    lines = ["expected -----BEGIN RSA PRIVATE KEY-----", 'time="05:50:47" level=error msg="bad key"']
    assert mask_lines(lines) == [f"expected {MASK}", lines[1]]


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("password=hunter2 user=vuls", f"password={MASK} user=vuls"),
        ('{"db_password": "hunter 2", "a": 1}', f'{{"db_password": {MASK}, "a": 1}}'),
        ("PASSWD: hunter2", f"PASSWD: {MASK}"),
        ("GITHUB_TOKEN='hunter2'", f"GITHUB_TOKEN={MASK}"),
        ("api-key=hunter2;x", f"api-key={MASK};x"),
        ("Authorization: Basic aHVudGVyMjpo", f"Authorization: {MASK}"),
        ("sent bearer hunter2, refused", f"sent bearer {MASK}, refused"),
        ("git clone https://me:hunter2@example.org/x", f"git clone https://me:{MASK}@example.org/x"),
        ("AWS_SECRET_ACCESS_KEY=hunter2", f"AWS_SECRET_ACCESS_KEY={MASK}"),
        ("client_secret_value: hunter2", f"client_secret_value: {MASK}"),
        ("pwd=hunter2", f"pwd={MASK}"),
        ("curl --password hunter2 host", f"curl --password {MASK} host"),
        ("Set-Cookie: a=hunter2; Path=/", f"Set-Cookie: {MASK}"),
        ("the key is hunter2-of-ours", "the key is [masked]-of-ours"),
    ],
)
def test_what_looks_like_a_secret_is_masked_once_and_for_all(line: str, masked: str) -> None:
    assert mask(line, ["hunter2"] if "of-ours" in line else []) == masked
    assert "hunter2" not in masked
    assert mask(masked) == masked


@pytest.mark.parametrize(
    "line",
    [
        'time="Nov 23 05:50:47" level=info msg="(1/1) Detected: t1: debian 12.15"',
        "t1: 9 CVEs are detected with vuls2 (os packages)",
        "Permission denied (publickey,password).",
        "the password of the database is wrong",
        "/usr/lib/python3/dist-packages/a/very/long/path/that/has/only/letters/and/slashes.py",
        "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDdd0sVvcoIaOWnbzU",
    ],
)
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert mask(line, ["a-key-of-ours"]) == line


@pytest.mark.parametrize("text", ["a+", "://", "password=", "token='", "-----BEGIN ", "bearer ", "x://a:", "secret  "])
def test_a_line_that_was_made_to_be_slow_is_not(text: str) -> None:
    line = text * (MAX_LINE // len(text))
    began = time.process_time()
    mask_lines([line] * 20)
    assert time.process_time() - began < 2  # one that takes a second alone would hold the worker up for minutes


@given(st.lists(st.text(max_size=60)))
def test_masking_keeps_the_number_of_lines_and_gives_only_what_can_be_stored(lines: list[str]) -> None:
    masked = mask_lines([*lines, "x" * (2 * MAX_LINE), "a\0b"])
    assert len(masked) == len(lines) + 2
    assert all(len(line) <= MAX_LINE and "\0" not in line for line in masked)
