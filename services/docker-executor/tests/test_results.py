import asyncio
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from executor import result_filter, results
from executor.problems import JobFailed
from executor.results import as_scanned, collect
from tests.harness import RECORDINGS, ROOT, wait_until

RUN = "2026-11-23T05-50-50+0000"
LIMIT = 1024 * 1024


def write(results: Path, content: bytes | str, run: str = RUN, name: str = "t1.json") -> Path:
    (results / run).mkdir(parents=True, exist_ok=True)
    path = results / run / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


async def test_a_recorded_result_comes_back_without_its_config() -> None:
    results = RECORDINGS / "report-ok" / "results"
    original = json.loads(next(results.glob("*/t1.json")).read_text())
    assert original.pop("config")
    text = await collect(results, "t1", 10 * LIMIT)
    assert text is not None
    assert json.loads(text) == original
    assert len(original["scannedCves"]) == 9


async def test_the_newest_run_counts(tmp_path: Path) -> None:
    for day, value in (("2026-11-24", 2), ("2026-11-23", 1)):
        write(tmp_path, json.dumps({"serverName": "t1", "value": value}), run=f"{day}T00-00-00+0000")
    write(tmp_path, "{}", run="current")
    assert await collect(tmp_path, "t1", LIMIT) == '{"serverName":"t1","value":2}'


@pytest.mark.parametrize("run", [None, RUN])
async def test_no_result_is_no_error(tmp_path: Path, run: str | None) -> None:
    if run:
        write(tmp_path, "{}", run=run, name="t2.json")
    assert await collect(tmp_path, "t1", LIMIT) is None


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
async def test_what_is_not_this_servers_result_is_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content)
    with pytest.raises(JobFailed) as caught:
        await collect(tmp_path, "t1", LIMIT)
    assert caught.value.code == "result_invalid"


async def test_a_file_over_the_limit_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    os.truncate(path, 200 * 1024 * 1024)  # sparse: reading it all would take the memory, not the disk
    with pytest.raises(JobFailed) as caught:
        await collect(tmp_path, "t1", LIMIT)
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
async def test_nothing_but_a_regular_file_is_read(tmp_path: Path, trap: Any) -> None:
    results = tmp_path / "results"
    results.mkdir()
    trap(tmp_path, results)
    with pytest.raises(JobFailed) as caught:
        await collect(results, "t1", LIMIT)
    assert caught.value.code == "result_invalid"


async def test_hostile_fields_stay_text(tmp_path: Path) -> None:
    hostile = {"serverName": "t1", "scannedCves": {"<script>" + "C" * 10_000: {"x": "\u2028\x00\x1b</script>"}}}
    write(tmp_path, json.dumps(hostile))
    text = await collect(tmp_path, "t1", LIMIT)
    assert text is not None
    assert json.loads(text) == hostile


def hostile_value(case: dict[str, Any]) -> str:
    """Return the JSON text of a case of the shared table."""
    times = case.get("times", 0)
    repeated, closed = (case.get(part, "") * times for part in ("repeated", "closed"))
    return f"{case['before']}{repeated}{case.get('after', '')}{closed}"


HOSTILE = json.loads((ROOT / "tests/data/vuls/hostile-results.json").read_text())


@pytest.mark.parametrize("case", HOSTILE, ids=[case["name"] for case in HOSTILE])
async def test_only_what_the_worker_can_read_is_passed_on(tmp_path: Path, case: dict[str, Any]) -> None:
    write(tmp_path, '{"serverName": "t1", "x": ' + hostile_value(case) + "}")
    if case["passes"]:
        assert await collect(tmp_path, "t1", LIMIT)
        return
    with pytest.raises(JobFailed, match="Press Run to scan again") as refused:
        await collect(tmp_path, "t1", LIMIT)
    assert refused.value.code == "result_invalid"


async def test_two_hundred_megabytes_are_refused_without_being_held(tmp_path: Path) -> None:
    os.truncate(write(tmp_path, "{"), 200 * LIMIT)
    tracemalloc.start()
    try:
        with pytest.raises(JobFailed, match="larger than 64 MiB") as refused:
            await collect(tmp_path, "t1", 64 * LIMIT)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.value.code == "result_too_large"
    assert most < 10 * LIMIT


def large(texts: int) -> str:
    """Return a result of 63 MiB whose values are texts, so many of them."""
    return json.dumps({"serverName": "t1", "x": ["x" * (63 * LIMIT // texts - 4)] * texts})


async def test_a_result_of_the_greatest_size_is_passed_on(tmp_path: Path) -> None:
    write(tmp_path, large(2_000_000))
    text = await collect(tmp_path, "t1", 64 * LIMIT)
    assert text is not None
    assert len(text) > 60 * LIMIT


@pytest.mark.parametrize("limit", ["memory", "time"])
async def test_a_file_that_takes_too_much_to_read_ends_the_reading_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    greedy = {
        "memory": f"import sys; sys.path.insert(0, {str(ROOT / 'services/docker-executor')!r});"
        "from executor import result_filter; result_filter._limit_itself(1); bytearray(1 << 29)",
        "time": "while True: pass",
    }
    program = tmp_path / "greedy.py"
    program.write_text(greedy[limit])
    monkeypatch.setattr(result_filter, "__file__", str(program))
    monkeypatch.setattr(results, "FILTER_SECONDS", 60 if limit == "memory" else 1)
    write(tmp_path, '{"serverName": "t1"}')
    with pytest.raises(JobFailed, match="more memory or time to read") as refused:
        await collect(tmp_path, "t1", LIMIT)
    assert refused.value.code == "result_invalid"


async def test_a_reader_that_is_not_waited_for_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, pid = tmp_path / "endless.py", tmp_path / "pid"
    program.write_text(f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    monkeypatch.setattr(result_filter, "__file__", str(program))
    write(tmp_path, '{"serverName": "t1"}')
    reading = asyncio.ensure_future(collect(tmp_path, "t1", LIMIT))
    await asyncio.to_thread(wait_until, lambda: pid.exists() and pid.read_text() != "", 20)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


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
