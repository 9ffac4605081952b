"""One attempt at a run: what it stores, what it tells, and what it does when others interfere."""

import threading
from collections.abc import Callable
from socket import gethostname
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import undefer

from app.config import Settings
from app.db.events import read_events
from app.db.models import Event, Finding, Run, Scan, ScheduledTask
from app.db.runs import cancel_run, claim_run, create_run, expire_leases, mark_sent
from app.domain.owner import nobody_of
from app.tasks.scan_run import ScanRequestError, ScanRunner
from app.utils.notification_service import NOTIFICATION_CHANNEL
from tests.channel import next_message
from tests.conftest import Sessions
from tests.executor_double import ExecutorDouble, problem, reported
from tests.services import Database
from tests.tasks.runs import queue, queue_for_host, stored_run, told
from tests.waiting import wait_until

COUNTS = {"vulnerabilities": 9, "critical": 2, "high": 2, "medium": 3, "low": 1, "unknown": 1}


def test_a_delivered_job_ends_in_a_stored_scan_and_three_events(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble
) -> None:
    run_id = queue(web)
    said = runner.deliver(run_id)
    assert said is not None
    run = stored_run(web, run_id)
    with web() as session:
        scan = session.scalars(select(Scan).options(undefer(Scan.result))).one()
        findings = session.scalars(select(Finding).order_by(Finding.cve_id)).all()
    (job_id,) = executor.jobs
    assert job_id.startswith(f"run-{run_id}-1-")
    assert executor.submitted == [{"job_id": job_id, "server": "vuls-target-1", "scan_type": "fast"}]
    assert run.status == said["status"] == "success"
    assert run.result_data == said["result_data"] == {"scan_id": scan.id, "verdict": "assessed"} | COUNTS
    assert told(web) == [(run_id, "queued"), (run_id, "started"), (run_id, "success")]
    assert (scan.family, scan.release, scan.package_count, scan.demo) == ("debian", "12.15", 171, False)
    assert "config" not in scan.result
    assert len(findings) == 9
    assert (findings[0].cve_id, findings[0].severity, findings[0].score) == ("CVE-2099-0001", "critical", 9.8)
    assert findings[0].packages == [{"name": "zlib1g", "fixed_in": None, "not_fixed_yet": True}]
    assert findings[0].links[1] == "https://nvd.nist.gov/vuln/detail/CVE-2099-0001"
    assert (scan.kernel, scan.reboot_required) == ("6.18.44-fc-v669", False)


@pytest.mark.parametrize(
    ("end", "status", "verdict", "code"),
    [
        (reported(reportedVersion="demo"), "success", "assessed", None),
        (
            reported(recording="report-db-missing") | {"report_exit": 1, "log": ["x not found, cannot skip update"]},
            "success",
            "not_assessed",
            "database_missing",
        ),
        (reported("down", "scan-unreachable") | {"scan_exit": 1}, "failed", "failed", "unreachable"),
        (
            {"state": "failed", "error": {"code": "image_missing", "sentence": "No image."}, "result": None},
            "failed",
            "failed",
            "image_missing",
        ),
        ({"state": "lost", "result": None}, "failed", "failed", "scan_stopped"),
        (reported(jsonVersion=5), "failed", "failed", "other_version"),
        (reported(scannedCves={"C" * 10_000: {}}), "failed", "failed", "bad_result"),
    ],
    ids=["demo data", "database missing", "unreachable", "no image", "lost", "other version", "endless id"],
)
def test_the_verdict_decides_status_reason_and_what_is_stored(
    web: Sessions,
    runner: ScanRunner,
    executor: ExecutorDouble,
    end: dict[str, Any],
    status: str,
    verdict: str,
    code: str,
) -> None:
    executor.end = lambda _server: end
    run_id = queue(web)
    runner.deliver(run_id)
    run = stored_run(web, run_id)
    assert (run.status, run.result_data["verdict"], run.result_data.get("reason", {}).get("code")) == (
        status,
        verdict,
        code,
    )
    assert (run.result_data["scan_id"] is None) is (status == "failed")
    with web() as session:
        assert session.scalar(select(func.count()).select_from(Scan)) == (0 if status == "failed" else 1)
        assert session.scalar(select(func.count()).select_from(Finding)) == (9 if verdict == "assessed" else 0)


def test_a_newer_database_is_told_as_changed_findings_and_a_failure_between_changes_nothing(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, redis_client: Redis
) -> None:
    channel = redis_client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    channel.subscribe(NOTIFICATION_CHANNEL)
    for end in (
        reported(),
        reported("down", "scan-unreachable") | {"scan_exit": 1},
        reported(recording="report-db-missing") | {"report_exit": 1},
        reported(recording="report-ok-next"),
        reported(recording="report-ok-next"),
    ):
        executor.end = lambda _server, end=end: end  # type: ignore[misc]  # the default binds this round's
        runner.deliver(queue(web))
    with web() as session:
        log = read_events(session, 0, 100)[1]
        scan_id = session.scalars(select(Scan.id).order_by(Scan.id)).all()[2]
    (place,) = (place for place, event in enumerate(log) if event.type == "findings_changed")
    data, end_of_run = log[place].data, log[place - 1].data
    assert {name: kind["cve_ids"] for name, kind in data.items() if isinstance(kind, dict)} == {
        "new": ["CVE-2099-0011", "CVE-2099-0012"],
        "fixed": ["CVE-2099-0009"],
        "severity_changed": [],
        "reappeared": [],
    }
    assert (data["new"]["total"], data["fixed"]["total"], data["reappeared"]["total"]) == (2, 1, 0)
    assert (data["host_id"], data["host_name"], data["scan_id"]) == (1, "vuls-target-1", scan_id)
    assert (end_of_run["status"], end_of_run["task_run_id"]) == ("success", data["task_run_id"])
    assert log[place].host_id == 1
    while (message := next_message(channel))["type"] != "findings_changed":
        assert message["data"]["task_run_id"] <= data["task_run_id"]
    assert message["data"] == data
    channel.close()


def test_a_result_that_cannot_be_stored_ends_the_run_with_a_reason_and_leaves_nothing(
    web: Sessions, runner: ScanRunner, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = queue(web)
    database.execute("ALTER TABLE finding ADD CONSTRAINT refuses CHECK (cve_id <> 'CVE-2099-0002')")
    try:
        runner.deliver(run_id)
    finally:
        database.execute("ALTER TABLE finding DROP CONSTRAINT refuses")
    run = stored_run(web, run_id)
    assert (run.status, run.result_data["verdict"], run.result_data["reason"]["code"]) == (
        "failed",
        "failed",
        "internal",
    )
    assert "vuls-target-1" in run.result_data["reason"]["sentence"]
    assert run.result_data["vulnerabilities"] is None
    assert told(web)[-1] == (run_id, "failed")
    assert "nobody foresaw" in caplog.text
    with web() as session:
        assert session.scalars(select(Scan)).all() == []


def test_an_executor_that_refuses_ends_the_run_with_its_reason(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble
) -> None:
    executor.answers = [problem(404, "unknown_server")]
    run_id = queue(web)
    runner.deliver(run_id)
    reason = stored_run(web, run_id).result_data["reason"]
    assert reason["code"] == "unknown_server"
    assert "vuls-target-1" in reason["sentence"]


def test_a_second_delivery_while_the_first_scans_does_nothing(
    web: Sessions,
    runner: ScanRunner,
    executor: ExecutorDouble,
    background: Callable[..., threading.Thread],
) -> None:
    executor.let_end.clear()
    run_id = queue(web)
    first = background(runner.deliver, run_id)
    assert executor.scanning.wait(60)
    assert runner.deliver(run_id) is None
    executor.let_end.set()
    first.join(10)
    assert runner.deliver(run_id) is None
    assert told(web) == [(run_id, "queued"), (run_id, "started"), (run_id, "success")]
    assert len(executor.jobs) == 1


def test_an_attempt_that_was_let_go_goes_before_what_waits_which_is_given_back(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, sessions_as: Callable[..., Sessions]
) -> None:
    orphan, waiting = queue(web), queue(web, 2)
    with sessions_as("worker").begin() as session:
        assert claim_run(session, orphan, nobody_of(gethostname()), 30)
    with sessions_as("scheduler").begin() as session:
        mark_sent(session, waiting)
    assert runner.deliver(waiting)
    assert (stored_run(web, orphan).status, stored_run(web, orphan).takeovers) == ("success", 1)
    assert (stored_run(web, waiting).status, stored_run(web, waiting).sent_at) == ("queued", None)
    assert runner.deliver(waiting)
    assert stored_run(web, waiting).status == "success"
    assert len(executor.jobs) == 2


def test_a_job_for_an_unknown_run_or_another_zones_is_left_alone(web: Sessions, runner: ScanRunner) -> None:
    with web.begin() as session:
        task = ScheduledTask(name="Elsewhere", host_id=3, scan_type="fast")
        session.add(task)
        session.flush()
        elsewhere, _ = create_run(session, task, "manual")
    assert runner.deliver(elsewhere.id) is None
    assert runner.deliver(4711) is None
    assert stored_run(web, elsewhere.id).status == "queued"


def test_a_cancelled_run_stops_its_scan_and_stays_cancelled(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Callable[..., threading.Thread]
) -> None:
    executor.let_end.clear()
    run_id = queue(web)
    scanning = background(runner.deliver, run_id)
    assert executor.scanning.wait(60)
    with web.begin() as session:
        assert cancel_run(session, run_id)
    scanning.join(10)
    assert executor.cancelled.is_set()
    assert told(web)[-1] == (run_id, "cancelled")
    with web() as session:
        assert session.scalars(select(Scan)).all() == []


def test_the_lease_is_renewed_while_the_scan_runs(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Callable[..., threading.Thread]
) -> None:
    executor.let_end.clear()
    run_id = queue(web)
    scanning = background(runner.deliver, run_id)
    assert executor.scanning.wait(60)
    first = stored_run(web, run_id).lease_expires_at
    wait_until(lambda: stored_run(web, run_id).lease_expires_at != first)
    executor.let_end.set()
    scanning.join(10)
    assert stored_run(web, run_id).status == "success"


def test_an_attempt_that_lost_its_lease_stores_nothing(
    web: Sessions,
    worker: Settings,
    sessions_as: Callable[..., Sessions],
    executor: ExecutorDouble,
    background: Callable[..., threading.Thread],
) -> None:
    silent = worker.model_copy(update={"heartbeat_seconds": 60.0, "lease_seconds": -1.0})
    sessions = sessions_as("worker")
    executor.let_end.clear()
    run_id = queue(web)
    scanning = background(ScanRunner(silent, sessions).deliver, run_id)
    assert executor.scanning.wait(60)
    with sessions_as("scheduler").begin() as session:
        assert len(expire_leases(session, {"verdict": "failed"})) == 1
    executor.let_end.set()
    scanning.join(10)
    assert told(web) == [(run_id, "queued"), (run_id, "started"), (run_id, "failed")]
    with web() as session:
        assert session.scalars(select(Scan)).all() == []


def test_a_redis_that_is_away_changes_nothing_but_the_log(
    web: Sessions,
    worker: Settings,
    sessions_as: Callable[..., Sessions],
    process_settings: Callable[..., Settings],
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = process_settings(
        "worker", **{name: getattr(worker, name) for name in ("executor_socket", "scan_deadline")} | {"redis_port": 1}
    )
    run_id = queue(web)
    ScanRunner(away.model_copy(update={"executor_api_key": worker.executor_api_key}), sessions_as("worker")).deliver(
        run_id
    )
    assert stored_run(web, run_id).status == "success"
    assert "Could not publish" in caplog.text


def test_an_unknown_id_becomes_an_adhoc_run(web: Sessions, runner: ScanRunner) -> None:
    said = runner.run_now(2, "fast", 999)
    assert (said["task_id"], said["task_run_id"], said["status"]) == (0, 999, "success")
    assert said["result_data"]["vulnerabilities"] == 9
    assert told(web) == [(999, "queued"), (999, "started"), (999, "success")]


def test_a_run_that_is_no_scan_is_refused(web: Sessions, runner: ScanRunner, executor: ExecutorDouble) -> None:
    run_id = queue_for_host(web, "check")
    with pytest.raises(ScanRequestError, match="of kind check"):
        runner.run_now(1, "fast", run_id)
    assert executor.submitted == []


def test_a_finished_run_is_run_again_as_a_new_attempt(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble
) -> None:
    runner.run_now(2, "fast", 999)
    assert runner.run_now(2, "fast", 999)["status"] == "success"
    assert [job_id.rpartition("-")[0] for job_id in executor.jobs] == ["run-999-1", "run-999-2"]
    with web() as session:
        assert session.scalars(select(Scan.attempt).order_by(Scan.id)).all() == [1, 2]


def test_a_run_whose_id_is_given_a_second_time_is_scanned_anew(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, database: Database
) -> None:
    assert web
    runner.run_now(2, "fast", 999)
    database.execute("DELETE FROM run")  # as a restore does that goes back behind it
    executor.end = lambda _server: reported(scannedCves={})
    assert runner.run_now(2, "fast", 999)["result_data"]["vulnerabilities"] == 0
    assert len(executor.jobs) == 2


def test_a_run_in_other_hands_is_waited_for(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Callable[..., threading.Thread]
) -> None:
    executor.let_end.clear()
    run_id = queue(web)
    background(runner.deliver, run_id)
    assert executor.scanning.wait(60)
    threading.Timer(1, executor.let_end.set).start()
    assert runner.run_now(1, "fast", run_id)["status"] == "success"
    assert len(executor.jobs) == 1


def test_a_queued_run_is_done_at_once_and_the_late_job_stops(web: Sessions, runner: ScanRunner) -> None:
    run_id = queue(web)
    assert runner.run_now(1, "fast", run_id)["status"] == "success"
    assert runner.deliver(run_id) is None


@pytest.mark.parametrize(
    ("host_id", "scan_type", "words"),
    [(4711, "fast", "no host 4711"), (3, "fast", "no host 3"), (1, "slow", "scan type"), (1, "", "scan type")],
)
def test_a_scan_that_cannot_be_is_refused_and_nothing_stored(
    web: Sessions, runner: ScanRunner, host_id: int, scan_type: str, words: str
) -> None:
    with pytest.raises(ScanRequestError, match=words):
        runner.run_now(host_id, scan_type, 999)
    with web() as session:
        assert (session.scalars(select(Run)).all(), session.scalars(select(Event)).all()) == ([], [])


def test_a_run_is_not_run_again_with_another_scan_type_than_its_own(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble
) -> None:
    runner.run_now(2, "fast", 999)
    with pytest.raises(ScanRequestError, match="a fast scan, not deep"):
        runner.run_now(2, "deep", 999)
    assert len(executor.jobs) == 1
    assert told(web)[-1] == (999, "success")


def test_another_hosts_or_zones_run_is_refused(web: Sessions, runner: ScanRunner) -> None:
    runner.run_now(2, "fast", 999)
    with pytest.raises(ScanRequestError, match="is of host 2"):
        runner.run_now(1, "fast", 999)
    with web.begin() as session:
        session.add(
            Run(id=77, task_name="x", host_id=3, zone="other", scan_type="fast", trigger="adhoc", result_data={})
        )
    with pytest.raises(ScanRequestError, match="another zone"):
        runner.run_now(1, "fast", 77)
