"""What a scan's programs say is stored while it runs: each line once, without secrets."""

from collections.abc import Callable
from socket import gethostname
from typing import Any

import pytest

from app.config import Settings
from app.db.run_log import read_log
from app.db.runs import claim_run
from app.domain.owner import nobody_of
from app.domain.run_log import KEPT, MASK
from app.tasks.scan_run import ScanRunner
from tests.conftest import Sessions
from tests.executor_double import API_KEY, ExecutorDouble, reported
from tests.services import Database
from tests.tasks.conftest import Background
from tests.tasks.runs import queue, stored_run
from tests.waiting import wait_until

WINDOW = 200  # lines of each program that the executor shows


def log_of(web: Sessions, run_id: int) -> list[str]:
    with web() as session:
        return [line.text for line in read_log(session, run_id, 0, KEPT)]


def said(scan: list[str], report: list[str] | None = None) -> dict[str, Any]:
    log = scan[-WINDOW:] + (report or [])[-WINDOW:]
    return {"state": "scanning" if report is None else "reporting", "phase": "connecting", "log": log}


def test_lines_are_there_while_the_scan_runs_and_all_of_them_at_its_end(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Background
) -> None:
    scan = [f'time="05:50:47" level=info msg="line {number}"' for number in range(340)]
    report = [f'time="05:50:51" level=info msg="report {number}"' for number in range(3)]
    executor.let_end.clear()
    executor.says = said(scan[:150])
    run_id = queue(web)
    scanning = background(runner.deliver, run_id)
    for shown in (scan[:150], scan[:320], scan):
        executor.says = said(shown)
        wait_until(lambda: log_of(web, run_id) == shown)  # noqa: B023
    executor.end = lambda _server: reported() | {"log": said(scan, report)["log"]}
    executor.let_end.set()
    scanning.join(20)
    assert log_of(web, run_id) == scan + report


def test_a_worker_that_takes_over_repeats_no_line(
    web: Sessions,
    runner: ScanRunner,
    executor: ExecutorDouble,
    background: Background,
    database: Database,
    sessions_as: Callable[..., Sessions],
) -> None:
    scan = [f"scan {number}" for number in range(250)]
    executor.let_end.clear()
    executor.says = said(scan[:220], ["report 0"])
    run_id = queue(web)
    with sessions_as("worker").begin() as session:
        assert claim_run(session, run_id, nobody_of(gethostname()), -1)
    database.execute(
        "INSERT INTO run_log (run_id, n, attempt, text)"
        " SELECT %s, n + 1, 1, 'scan ' || n FROM generate_series(0, 209) n",
        run_id,
    )
    database.execute("UPDATE run SET log_lines = 210")
    scanning = background(runner.deliver, run_id)
    wait_until(lambda: log_of(web, run_id) == [*scan[:220], "report 0"])
    executor.let_end.set()
    scanning.join(20)


def test_no_secret_reaches_the_log(
    web: Sessions, worker: Settings, runner: ScanRunner, executor: ExecutorDouble
) -> None:
    password = worker.database_password.get_secret_value()
    lines = [f"key {API_KEY} of ours", f"connect as {password}", "password=x", "all is well"]
    executor.end = lambda _server: reported() | {"log": lines}
    run_id = queue(web)
    runner.deliver(run_id)
    assert log_of(web, run_id) == [f"key {MASK} of ours", f"connect as {MASK}", f"password={MASK}", "all is well"]


@pytest.mark.parametrize("line", ["\0nul\0", "é" * 9000, "<script>alert(1)</script>", "x" * 200_000])
def test_a_line_of_any_kind_harms_neither_log_nor_result(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, line: str
) -> None:
    executor.end = lambda _server: reported() | {"log": [line, "after"]}
    run_id = queue(web)
    runner.deliver(run_id)
    assert log_of(web, run_id) == [line.replace("\0", "")[:4000], "after"]
    assert stored_run(web, run_id).status == "success"
