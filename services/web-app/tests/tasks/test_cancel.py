"""A run that is cancelled ends once, wherever it is, and its scan ends with it."""

import time
from socket import gethostname

import psycopg
import pytest

from app.config import Settings
from app.db.events import read_events
from app.db.runs import cancel_run, claim_run
from app.domain.owner import nobody_of
from app.integrations import executor_client
from app.tasks.process import sessions
from app.tasks.scan_run import ScanRunner
from tests.conftest import Sessions
from tests.executor_double import ExecutorDouble
from tests.services import Database
from tests.tasks.conftest import Background
from tests.tasks.runs import queue, stored_run, told
from tests.waiting import wait_until

NOTICED = 5.0  # seconds from the click to the executor
WAITS_TO_STORE = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    " AND query LIKE 'INSERT INTO scan %'"
)


def cancel(web: Sessions, run_id: int) -> None:
    with web.begin() as session:
        assert cancel_run(session, run_id)


def test_a_queued_run_is_cancelled_for_good(web: Sessions, runner: ScanRunner, executor: ExecutorDouble) -> None:
    run_id = queue(web)
    cancel(web, run_id)
    assert runner.deliver(run_id) is None
    assert told(web) == [(run_id, "queued"), (run_id, "cancelled")]
    assert executor.submitted == []


@pytest.mark.parametrize(
    ("state", "phase"),
    [("accepted", "queued"), ("preparing", "preparing"), ("scanning", "connecting"), ("reporting", "matching")],
)
def test_the_executor_hears_of_it_soon_however_rare_the_heartbeats_are(
    web: Sessions, worker: Settings, executor: ExecutorDouble, background: Background, state: str, phase: str
) -> None:
    rare = worker.model_copy(update={"heartbeat_seconds": 600.0, "lease_seconds": 1800.0})
    executor.let_end.clear()
    executor.says = {"state": state, "phase": phase}
    run_id = queue(web)
    scanning = background(ScanRunner(rare, sessions()).deliver, run_id)
    wait_until(lambda: stored_run(web, run_id).phase == phase)
    cancelled_at = time.monotonic()
    cancel(web, run_id)
    assert executor.cancelled.wait(20)
    assert time.monotonic() - cancelled_at < NOTICED
    scanning.join(20)
    assert told(web) == [(run_id, "queued"), (run_id, "started"), (run_id, "cancelled")]
    (job,) = executor.jobs.values()
    assert job["state"] == "cancelled"
    assert stored_run(web, run_id).lease_expires_at is None  # the next scan of the host may begin
    with web() as session:
        events = read_events(session, 0, 100)[1]
    assert (events[-1].type, events[-1].data.get("status")) == ("task_update", "cancelled")


def test_a_run_whose_executor_is_away_is_cancelled_at_once_and_never_sent(
    web: Sessions,
    runner: ScanRunner,
    executor: ExecutorDouble,
    background: Background,
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor.stop()
    run_id = queue(web)
    waiting = background(runner.deliver, run_id)
    wait_until(lambda: stored_run(web, run_id).status == "started")
    cancel(web, run_id)
    assert told(web) == [(run_id, "queued"), (run_id, "started"), (run_id, "cancelled")]
    wait_until(lambda: "was ended or given away" in caplog.text)
    executor.start()
    waiting.join(20)
    assert not waiting.is_alive()
    assert executor.submitted == []
    assert stored_run(web, run_id).lease_expires_at is None
    assert told(web)[-1] == (run_id, "cancelled")


def test_a_job_that_is_being_sent_is_ended_although_no_answer_came(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Background
) -> None:
    executor.let_end.clear()
    executor.mute = True
    run_id = queue(web)
    sending = background(runner.deliver, run_id)
    wait_until(lambda: executor.jobs)
    cancelled_at = time.monotonic()
    cancel(web, run_id)
    assert executor.cancelled.wait(20)
    assert time.monotonic() - cancelled_at < NOTICED
    sending.join(20)
    (job,) = executor.jobs.values()
    assert job["state"] == "cancelled"
    assert stored_run(web, run_id).lease_expires_at is None
    assert told(web) == [(run_id, "queued"), (run_id, "started"), (run_id, "cancelled")]


def test_what_is_being_stored_as_its_run_is_cancelled_is_dropped(
    web: Sessions, runner: ScanRunner, database: Database, background: Background
) -> None:
    run_id = queue(web)
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("LOCK TABLE scan IN SHARE MODE")
        storing = background(runner.deliver, run_id)
        wait_until(lambda: database.execute(WAITS_TO_STORE))
        cancel(web, run_id)
        connection.rollback()
    storing.join(20)
    assert told(web) == [(run_id, "queued"), (run_id, "started"), (run_id, "cancelled")]
    assert database.execute("SELECT count(*) FROM scan") == [(0,)]
    assert stored_run(web, run_id).lease_expires_at is None


def test_a_scan_is_ended_at_the_time_limit_of_its_task(
    web: Sessions, worker: Settings, executor: ExecutorDouble, database: Database
) -> None:
    database.execute("UPDATE scheduled_task SET time_limit_minutes = 1 WHERE id = 1")
    executor.let_end.clear()
    run_id = queue(web)
    database.execute("UPDATE scheduled_task SET time_limit_minutes = 1440 WHERE id = 1")  # too late for this run
    with sessions().begin() as session:  # a worker took it 58 s ago, and is gone
        assert claim_run(session, run_id, nobody_of(gethostname()), 60) is not None
    database.execute("UPDATE run SET started_at = started_at - interval '58 s' WHERE id = %s", run_id)
    ScanRunner(worker, sessions()).deliver(run_id)
    run = stored_run(web, run_id)
    assert executor.cancelled.is_set()
    assert (run.status, run.result_data["reason"]) == (
        "failed",
        {
            "code": "task_time_limit",
            "sentence": "The scan of vuls-target-1 was ended after 1 minute, the time limit of its task."
            f" `vulsctl run log {run_id}` on a web host shows how far it came; if the host needs longer, raise"
            " time_limit_minutes of the task, then run it again.",
        },
    )
    assert run.lease_expires_at is None


@pytest.mark.parametrize("stops", [True, False])
def test_after_a_scan_that_took_too_long_the_host_is_free_once_it_has_stopped(
    web: Sessions, worker: Settings, executor: ExecutorDouble, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    monkeypatch.setattr(executor_client, "_END_PATIENCE", 1.0)
    executor.let_end.clear()
    executor.goes_on = not stops
    run_id = queue(web)
    ScanRunner(worker.model_copy(update={"scan_deadline": 2}), sessions()).deliver(run_id)
    run = stored_run(web, run_id)
    assert executor.cancelled.is_set()
    assert (run.status, run.result_data["reason"]["code"]) == ("failed", "scan_timeout")
    assert (run.lease_expires_at is None) is stops
