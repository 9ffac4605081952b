"""Runs that are no scans: connection tests, and packages of an earlier scan that are assessed anew."""

from typing import Any

import pytest
from sqlalchemy import func, select

from app.db.events import read_events
from app.db.models import Host, Scan
from app.db.runs import cancel_run, create_adhoc_run
from app.db.scans import scan_json
from app.db.standing import standings
from app.domain.messages import TaskUpdateData
from app.tasks.scan_run import ScanRunner
from tests.conftest import Sessions
from tests.executor_double import ExecutorDouble, problem, reported
from tests.recordings import Recording
from tests.services import Database
from tests.tasks.conftest import Background
from tests.tasks.runs import queue, queue_for_host, stored_run, told
from tests.waiting import wait_until

WORKS = {"state": "done", "scan_exit": 0, "report_exit": None, "result": None, "log": []}


def unable(recording: str) -> dict[str, Any]:
    """What a check says that failed as a recorded run did."""
    return {**WORKS, "scan_exit": 1, "log": Recording(recording).log}


def anew(recording: str = "report-ok-next", **changes: Any) -> dict[str, Any]:
    """What an assessment brings back."""
    return reported(recording=recording, **changes) | {"scan_exit": None}


def updates(web: Sessions, run_id: int) -> list[dict[str, Any]]:
    with web() as session:
        log = read_events(session, 0, 1000)[1]
    return [event.data for event in log if event.type == "task_update" and event.data["task_run_id"] == run_id]


def scanned(web: Sessions, runner: ScanRunner, executor: ExecutorDouble, **end: Any) -> int:
    """Scan host 1, and return the run."""
    executor.end = lambda _server: reported() | end
    run_id = queue(web)
    runner.deliver(run_id)
    return run_id


def stand(web: Sessions) -> dict[str, Any]:
    with web() as session:
        return standings(session, [1])[1]


def test_a_check_that_works_says_so_and_nothing_about_vulnerabilities(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble
) -> None:
    recorded = Recording("configtest-ok")
    executor.end = lambda _server: WORKS | {"scan_exit": recorded.exit_status, "log": recorded.log}
    run_id = queue_for_host(web, "check")
    runner.deliver(run_id)
    (job,) = executor.submitted
    assert (executor.called, set(job), job["server"]) == (["/check"], {"job_id", "server"}, "vuls-target-1")
    run = stored_run(web, run_id)
    assert (run.status, run.result_data, run.kind, run.task_id) == ("success", {"kind": "check"}, "check", 0)
    seen = updates(web, run_id)
    assert [(data["status"], data["kind"]) for data in seen] == [
        ("queued", "check"),
        ("started", "check"),
        ("success", "check"),
    ]
    for data in seen:
        TaskUpdateData.model_validate(data)
    with web() as session:
        assert session.scalar(select(func.count()).select_from(Scan)) == 0
    assert stand(web) == {"latest": None, "assessment": None}


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (unable("configtest-unreachable"), "unreachable"),
        (unable("scan-unknown-host-key"), "unknown_host_key"),
        (unable("scan-permission-denied"), "permission_denied"),
        ({**WORKS, "scan_exit": 1, "log": ["nothing known"]}, "check_failed"),
        ({**WORKS, "state": "failed", "error": {"code": "image_missing", "sentence": "No image."}}, "image_missing"),
        ({**WORKS, "state": "lost"}, "scan_stopped"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_check_that_fails_says_why_and_leaves_the_hosts_standing_alone(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, end: dict[str, Any], code: str
) -> None:
    scan = scanned(web, runner, executor)
    before = stand(web)
    executor.end = lambda _server: end
    run_id = queue_for_host(web, "check")
    runner.deliver(run_id)
    result = stored_run(web, run_id).result_data
    assert (result["verdict"], result["kind"], result["reason"]["code"]) == ("failed", "check", code)
    assert (result["vulnerabilities"], result["scan_id"]) == (None, None)
    if code != "image_missing":
        assert "vuls-target-1" in result["reason"]["sentence"]
    assert told(web)[-1] == (run_id, "failed")
    assert stand(web) == before
    assert before["latest"]["run_id"] == scan


def test_packages_are_assessed_anew_and_tell_what_changed(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble
) -> None:
    first = scanned(web, runner, executor)
    executor.end = lambda _server: anew()
    run_id = queue_for_host(web, "reassess")
    runner.deliver(run_id)
    assert executor.called == ["/scan", "/assess"]
    given = executor.submitted[-1]
    assert (set(given), given["server"]) == ({"job_id", "server", "result"}, "vuls-target-1")
    assert (given["result"]["serverName"], "config" in given["result"]) == ("t1", False)
    assert given["result"]["packages"] == reported()["result"]["packages"]
    run = stored_run(web, run_id)
    with web() as session:
        before, after = session.scalars(select(Scan).order_by(Scan.id)).all()
        shown = scan_json(session, after)
    assert (run.status, run.result_data["verdict"], run.result_data["vulnerabilities"]) == ("success", "assessed", 10)
    assert (run.result_data["kind"], run.result_data["scan_id"]) == ("reassess", after.id)
    assert (after.packages_from_scan_id, after.collected_at) == (before.id, before.created_at)
    assert shown["collected_at"] < shown["created_at"]
    with web() as session:
        changed = read_events(session, 0, 1000)[1][-1]
    assert changed.type == "findings_changed"
    assert changed.data["new"]["cve_ids"] == ["CVE-2099-0011", "CVE-2099-0012"]
    assert changed.data["fixed"]["cve_ids"] == ["CVE-2099-0009"]
    assert [data["kind"] for data in updates(web, run_id)] == ["reassess"] * 3
    assert all("kind" not in data for data in updates(web, first))
    standing = stand(web)
    assert (standing["latest"]["run_id"], standing["assessment"]["scan_id"]) == (run_id, after.id)
    assert standing["assessment"]["collected_at"] < standing["assessment"]["assessed_at"]


def test_packages_assessed_twice_are_still_those_of_the_scan(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble
) -> None:
    scanned(web, runner, executor)
    executor.end = lambda _server: anew()
    for _ in range(2):
        runner.deliver(queue_for_host(web, "reassess"))
    with web() as session:
        first, second, third = session.scalars(select(Scan).order_by(Scan.id)).all()
    assert second.packages_from_scan_id == third.packages_from_scan_id == first.id
    assert executor.submitted[1]["result"] == executor.submitted[2]["result"]


def test_without_a_stored_scan_there_is_nothing_to_assess(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble
) -> None:
    scanned(web, runner, executor, scan_exit=1, result=None)
    run_id = queue_for_host(web, "reassess")
    runner.deliver(run_id)
    result = stored_run(web, run_id).result_data
    assert (result["verdict"], result["kind"], result["reason"]["code"]) == ("failed", "reassess", "no_stored_scan")
    assert "vuls-target-1" in result["reason"]["sentence"]
    assert executor.called == ["/scan"]


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        (
            anew("report-db-missing") | {"report_exit": 1, "log": ["x not found, cannot skip update"]},
            "success",
            "database_missing",
        ),
        ({"state": "done", "scan_exit": None, "report_exit": 1, "result": None}, "failed", "no_result"),
        (
            {"state": "failed", "result": None, "error": {"code": "time_limit", "sentence": "Long."}},
            "failed",
            "time_limit",
        ),
    ],
    ids=["database missing", "nothing", "time limit"],
)
def test_packages_that_could_not_be_assessed_anew_change_no_findings(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, end: dict[str, Any], status: str, code: str
) -> None:
    scanned(web, runner, executor)
    before = stand(web)
    executor.end = lambda _server: end
    run_id = queue_for_host(web, "reassess")
    runner.deliver(run_id)
    run = stored_run(web, run_id)
    assert (run.status, run.result_data["reason"]["code"]) == (status, code)
    with web() as session:
        assert not [event for event in read_events(session, 0, 1000)[1] if event.type == "findings_changed"]
    after = stand(web)
    assert after["assessment"] == before["assessment"]
    assert (after["latest"] == before["latest"]) is (status == "failed")


def test_a_newer_scan_is_not_replaced_by_older_packages(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Background, database: Database
) -> None:
    scanned(web, runner, executor)
    executor.let_end.clear()
    executor.scanning.clear()
    run_id = queue_for_host(web, "reassess")
    assessing = background(runner.deliver, run_id)
    assert executor.scanning.wait(60)
    with web.begin() as session:
        newer, _ = create_adhoc_run(session, 77, session.get_one(Host, 1), "fast")
    database.execute(
        "INSERT INTO scan (run_id, host_id, attempt, family, release, verdict, package_count, result)"
        " VALUES (%s, 1, 1, 'debian', '12', 'assessed', 0, '{}')",
        newer.id,
    )
    executor.end = lambda _server: anew()
    executor.let_end.set()
    assessing.join(30)
    assert stored_run(web, run_id).result_data["reason"]["code"] == "newer_scan"
    with web() as session:
        assert session.scalar(select(func.count()).select_from(Scan)) == 2


def test_a_host_that_cannot_be_reached_stays_so_whatever_the_database_says(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble
) -> None:
    scanned(web, runner, executor)
    failed = scanned(web, runner, executor, **(reported("down", "scan-unreachable") | {"scan_exit": 1}))
    executor.end = lambda _server: anew()
    runner.deliver(queue_for_host(web, "reassess"))
    standing = stand(web)
    assert (standing["latest"]["run_id"], standing["latest"]["verdict"]) == (failed, "failed")
    assert sum(standing["assessment"]["counts"].values()) == 10


@pytest.mark.parametrize("kind", ["check", "reassess"])
def test_every_kind_is_cancelled_once_and_a_second_delivery_does_nothing(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Background, kind: Any
) -> None:
    scanned(web, runner, executor)
    executor.let_end.clear()
    executor.scanning.clear()
    run_id = queue_for_host(web, kind)
    working = background(runner.deliver, run_id)
    assert executor.scanning.wait(60)
    assert runner.deliver(run_id) is None
    with web.begin() as session:
        assert cancel_run(session, run_id)
    assert executor.cancelled.wait(20)
    working.join(20)
    assert [status for run, status in told(web) if run == run_id] == ["queued", "started", "cancelled"]


def test_an_executor_of_the_release_before_is_a_failure_with_a_reason(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble
) -> None:
    executor.answers = [problem(404, "not_found", "Not Found")]
    run_id = queue_for_host(web, "check")
    runner.deliver(run_id)
    assert stored_run(web, run_id).result_data["reason"]["code"] == "executor_refused"


def test_progress_of_one_kind_is_not_measured_by_another(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Background, database: Database
) -> None:
    scanned(web, runner, executor)
    database.execute('UPDATE run SET phase_seconds = \'{"connecting": 5, "matching": 5}\'')
    executor.let_end.clear()
    executor.says = {"state": "scanning", "phase": "connecting"}
    run_id = queue_for_host(web, "check")
    working = background(runner.deliver, run_id)
    wait_until(lambda: stored_run(web, run_id).phase == "connecting")
    assert stored_run(web, run_id).percent is None
    executor.end = lambda _server: WORKS
    executor.let_end.set()
    working.join(30)
