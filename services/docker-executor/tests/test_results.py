import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from executor.problems import JobFailed
from executor.results import as_scanned, collect
from tests.harness import RECORDINGS

RUN = "2026-11-23T05-50-50+0000"
LIMIT = 1024 * 1024


def write(results: Path, content: bytes | str, run: str = RUN, name: str = "t1.json") -> Path:
    (results / run).mkdir(parents=True, exist_ok=True)
    path = results / run / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_recorded_result_comes_back_without_its_config() -> None:
    results = RECORDINGS / "report-ok" / "results"
    original = json.loads(next(results.glob("*/t1.json")).read_text())
    assert original.pop("config")
    text = collect(results, "t1", 10 * LIMIT)
    assert text is not None
    assert json.loads(text) == original
    assert len(original["scannedCves"]) == 9


def test_the_newest_run_counts(tmp_path: Path) -> None:
    for day, value in (("2026-11-24", 2), ("2026-11-23", 1)):
        write(tmp_path, json.dumps({"serverName": "t1", "value": value}), run=f"{day}T00-00-00+0000")
    write(tmp_path, "{}", run="current")
    assert collect(tmp_path, "t1", LIMIT) == '{"serverName":"t1","value":2}'


@pytest.mark.parametrize("run", [None, RUN])
def test_no_result_is_no_error(tmp_path: Path, run: str | None) -> None:
    if run:
        write(tmp_path, "{}", run=run, name="t2.json")
    assert collect(tmp_path, "t1", LIMIT) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"serverName": "t1", "packages": {"a": ',
        b"[]",
        b'"t1"',
        b"{}",
        b'{"serverName": "t2"}',
        b'{"serverName": ["t1"]}',
        b'{"serverName": "t1", "score": NaN}',
        b'{"serverName": "t1", "n": ' + b"9" * 5000 + b"}",
        b'{"serverName": "t1", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'\xff{"serverName": "t1"}',
    ],
    ids=lambda content: content[:30].decode("latin-1"),
)
def test_what_is_not_this_servers_result_is_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content)
    with pytest.raises(JobFailed) as caught:
        collect(tmp_path, "t1", LIMIT)
    assert caught.value.code == "result_invalid"


def test_a_file_over_the_limit_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    os.truncate(path, 200 * 1024 * 1024)  # sparse: reading it all would take the memory, not the disk
    with pytest.raises(JobFailed) as caught:
        collect(tmp_path, "t1", LIMIT)
    assert caught.value.code == "result_too_large"


def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.json"
    path.write_text('{"serverName": "t1"}')
    return path


def file_is_link(tmp_path: Path, results: Path) -> None:
    (results / RUN).mkdir()
    (results / RUN / "t1.json").symlink_to(secret(tmp_path))


def run_is_link(tmp_path: Path, results: Path) -> None:
    write(tmp_path / "elsewhere", '{"serverName": "t1"}')
    (results / RUN).symlink_to(tmp_path / "elsewhere" / RUN)


def file_is_fifo(_: Path, results: Path) -> None:
    (results / RUN).mkdir()
    os.mkfifo(results / RUN / "t1.json")


def file_is_directory(_: Path, results: Path) -> None:
    (results / RUN / "t1.json").mkdir(parents=True)


@pytest.mark.parametrize("trap", [file_is_link, run_is_link, file_is_fifo, file_is_directory])
def test_nothing_but_a_regular_file_is_read(tmp_path: Path, trap: Any) -> None:
    results = tmp_path / "results"
    results.mkdir()
    trap(tmp_path, results)
    with pytest.raises(JobFailed) as caught:
        collect(results, "t1", LIMIT)
    assert caught.value.code == "result_invalid"


def test_hostile_fields_stay_text(tmp_path: Path) -> None:
    hostile = {"serverName": "t1", "scannedCves": {"<script>" + "C" * 10_000: {"x": "\u2028\ud800</script>"}}}
    write(tmp_path, json.dumps(hostile))
    text = collect(tmp_path, "t1", LIMIT)
    assert text is not None
    assert text.isascii()
    assert json.loads(text) == hostile


def test_two_hundred_megabytes_are_refused_without_being_held(tmp_path: Path) -> None:
    os.truncate(write(tmp_path, "{"), 200 * LIMIT)
    tracemalloc.start()
    try:
        with pytest.raises(JobFailed, match="larger than 64 MiB") as refused:
            collect(tmp_path, "t1", 64 * LIMIT)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.value.code == "result_too_large"
    assert most < 100 * LIMIT


def test_a_stored_result_becomes_what_the_scan_wrote() -> None:
    (scanned,) = (RECORDINGS / "scan-ok" / "results").rglob("t1.json")
    (reported,) = (RECORDINGS / "report-ok" / "results").rglob("t1.json")
    before, after = (json.loads(path.read_text()) for path in (scanned, reported))
    del before["config"], after["config"]
    assert json.loads(as_scanned(after)) == before
    assert as_scanned(after) == as_scanned(before)


def test_what_a_scan_found_itself_is_kept_for_families_whose_report_starts_from_it() -> None:
    cves = {
        "CVE-1": {"cveID": "CVE-1", "affectedPackages": [{"name": "a"}], "cveContents": {"nvd": [{}]}},
        "CVE-2": None,
    }
    for family, expected in (("freebsd", {"CVE-1": cves["CVE-1"] | {"cveContents": {}}}), ("debian", {}), (["x"], {})):  # type: ignore[operator]
        assert json.loads(as_scanned({"family": family, "scannedCves": cves}))["scannedCves"] == expected


def test_numbers_that_json_cannot_say_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        as_scanned({"x": float("nan")})
