"""A worker is killed at every phase of a scan: the scan ends right, is told once, and is never done twice at a time.

A process of the pool is killed, or the worker with all its processes, or its main process alone, with which the
pool goes. It is then started again, as systemd would.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from app.config import Settings
from app.db.models import ScheduledTask
from app.db.runs import cancel_run, create_run
from tests.conftest import Sessions
from tests.db.rows import add_task
from tests.executor_double import ExecutorDouble
from tests.redis_server import OwnRedis
from tests.scheduler.conftest import WorkerStarter, scheduling
from tests.scheduler.worker import Worker
from tests.services import Database
from tests.tasks.runs import stored_run, told
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(400)
LEASE = 120.0  # seconds: the worker is back before
NOTICED = 5.0  # seconds in which a scan ends that nobody wants, or that of a worker that is back
END = 90.0  # seconds that the end may take on a busy machine
WAITS_FOR_LOCK = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    " AND usename = 'vuls_worker_default'"
)


@dataclass
class Scene:
    """What a scan needs, and the scan. `cleared` undoes on exit what stands in its way."""

    web: Sessions
    database: Database
    redis: OwnRedis
    executor: ExecutorDouble
    start_worker: WorkerStarter
    cleared: ExitStack
    task_id: int
    host_id: int
    worker: Worker | None = None
    run_id: int = 0

    def start(self) -> Worker:
        """Start the worker, or start it again."""
        self.worker = self.start_worker(lease_seconds=LEASE, heartbeat_seconds=1)
        self.worker.wait_until_ready()
        return self.worker

    def queue(self) -> None:
        with self.web.begin() as session:
            self.run_id = create_run(session, session.get_one(ScheduledTask, self.task_id), "manual", "anna")[0].id

    def cancel(self) -> None:
        with self.web.begin() as session:
            assert cancel_run(session, self.run_id)

    def wait_for_status(self, status: str) -> None:
        wait_until(lambda: stored_run(self.web, self.run_id).status == status, END, f"status {status}")

    def wait_for_lock(self) -> None:
        wait_until(lambda: self.database.execute(WAITS_FOR_LOCK), END, "a worker that waits")

    def hold(self, statement: str) -> None:
        """Hold a lock until `cleared`."""
        connection = self.cleared.enter_context(psycopg.connect(self.database.admin_url))
        connection.execute(statement.encode())
        self.cleared.callback(connection.rollback)


@pytest.fixture
def scene(
    sessions_as: Callable[..., Sessions],
    settings: Settings,
    database: Database,
    own_redis: OwnRedis,
    executor: ExecutorDouble,
    start_worker: WorkerStarter,
) -> Iterator[Scene]:
    web = sessions_as("web")
    with web.begin() as session:
        task = add_task(session)
    executor.let_end.clear()
    patient = settings.model_copy(update={"lease_seconds": LEASE, "heartbeat_seconds": 1.0, "resend_after": 2.0})
    with ExitStack() as cleared, scheduling(patient):
        yield Scene(web, database, own_redis, executor, start_worker, cleared, task.id, task.host.id)


def queued(scene: Scene) -> None:
    """The job lies in Redis, and the worker is about to start."""
    scene.queue()
    wait_until(lambda: scene.redis.queue_length("scan.default") == 1)
    scene.worker = scene.start_worker(lease_seconds=LEASE, heartbeat_seconds=1)


def delivered(scene: Scene) -> None:
    """Redis has handed out the job, and the worker has not read it."""
    scene.start().signal(signal.SIGSTOP)
    scene.queue()
    wait_until(lambda: stored_run(scene.web, scene.run_id).sent_at)
    wait_until(lambda: scene.redis.queue_length("scan.default") == 0)


def before_claim(scene: Scene) -> None:
    """The worker has the job and asks whether its host is free."""
    scene.start()
    scene.hold(f"SELECT pg_advisory_xact_lock(4715, {scene.host_id})")
    scene.queue()
    scene.wait_for_lock()


def claimed(scene: Scene) -> None:
    """The worker has the run, and the executor is away."""
    scene.executor.stop()
    scene.cleared.callback(scene.executor.start)
    scene.start()
    scene.queue()
    scene.wait_for_status("started")


def in_state(state: str, phase: str) -> Callable[[Scene], None]:
    """Let the executor be at work, as it tells the worker."""

    def reach(scene: Scene) -> None:
        scene.executor.says = {"state": state, "phase": phase}
        scene.start()
        scene.queue()
        wait_until(lambda: stored_run(scene.web, scene.run_id).phase == phase, END, f"phase {phase}")

    return reach


def storing(scene: Scene) -> None:
    """The worker has the result and is about to store it."""
    in_state("reporting", "matching")(scene)
    scene.hold("LOCK TABLE scan IN SHARE MODE")
    scene.executor.let_end.set()
    scene.wait_for_lock()


def stored(scene: Scene) -> None:
    """The run has ended, and Redis, which hangs, does not know that the job is done."""
    in_state("reporting", "matching")(scene)
    scene.redis.signal(signal.SIGSTOP)
    scene.cleared.callback(scene.redis.signal, signal.SIGCONT)
    scene.executor.let_end.set()
    scene.wait_for_status("success")


PHASES: dict[str, Callable[[Scene], None]] = {
    "queued": queued,
    "delivered": delivered,
    "before claim": before_claim,
    "claimed": claimed,
    "submitted": in_state("accepted", "queued"),
    "preparing": in_state("preparing", "preparing"),
    "scanning": in_state("scanning", "connecting"),
    "reporting": in_state("reporting", "matching"),
    "storing": storing,
    "stored": stored,
}
VICTIMS = {"worker": Worker.kill, "main process": Worker.kill_main, "process": Worker.kill_child}
IN_MAKE_TEST = {("worker", "before claim"), ("worker", "scanning"), ("process", "storing")}


def table() -> Iterator[Any]:
    for victim in VICTIMS:
        for phase in PHASES:
            if victim == "process" and phase in {"queued", "delivered"}:
                continue  # it has no part in them
            if victim == "main process" and phase not in {"scanning", "storing"}:
                continue  # what is left of the worker matters where it works
            marks = [] if (victim, phase) in IN_MAKE_TEST else [pytest.mark.long]
            yield pytest.param(victim, phase, marks=marks, id=f"{victim}, {phase}")


@pytest.mark.parametrize(("victim", "phase"), list(table()))
def test_whatever_is_killed_the_scan_is_done_once_and_told_once(scene: Scene, victim: str, phase: str) -> None:
    PHASES[phase](scene)
    assert scene.worker is not None
    VICTIMS[victim](scene.worker)
    scene.cleared.close()
    if victim != "process":
        scene.start()
    wait_until(lambda: scene.executor.jobs, END, f"a job: {scene.worker.log[-3000:]}")
    scene.executor.let_end.set()
    scene.wait_for_status("success")
    ended_well(scene)


def ended_well(scene: Scene) -> None:
    """One attempt, one scan, three events, nobody who still has the run, and no job for it."""
    run = stored_run(scene.web, scene.run_id)
    assert (run.status, run.attempt, run.lease_owner, run.lease_expires_at) == ("success", 1, None, None)
    assert len(scene.executor.jobs) == 1
    assert not scene.executor.cancelled.is_set()
    assert scene.database.execute("SELECT count(*) FROM scan") == [(1,)]
    wait_until(lambda: scene.redis.queue_length("scan.default") == 0, END)
    assert told(scene.web) == [(scene.run_id, status) for status in ("queued", "started", "success")]


def ended_with_its_job(scene: Scene) -> None:
    """The executor ended the job, the run is told as cancelled once, and its host may be scanned again."""
    wait_until(lambda: stored_run(scene.web, scene.run_id).lease_expires_at is None, END, "a host that is free")
    (job,) = scene.executor.jobs.values()
    assert job["state"] == "cancelled"
    assert stored_run(scene.web, scene.run_id).lease_owner is None
    assert told(scene.web) == [(scene.run_id, status) for status in ("queued", "started", "cancelled")]


@pytest.mark.parametrize("phase", ["submitted", "scanning", "reporting"])
def test_the_scan_of_a_run_that_is_cancelled_while_its_worker_is_dead_ends_as_it_comes_back(
    scene: Scene, phase: str
) -> None:
    PHASES[phase](scene)
    assert scene.worker is not None
    scene.worker.kill()
    scene.cancel()
    assert not scene.executor.cancelled.is_set()
    scene.start()
    assert scene.executor.cancelled.wait(NOTICED)
    ended_with_its_job(scene)


def test_the_scan_of_a_run_that_is_cancelled_after_its_process_was_killed_ends_soon(scene: Scene) -> None:
    in_state("scanning", "connecting")(scene)
    assert scene.worker is not None
    scene.worker.kill_child()
    scene.cancel()
    assert scene.executor.cancelled.wait(NOTICED)
    ended_with_its_job(scene)


def test_the_scan_of_a_dead_worker_ends_although_the_executor_is_away_for_a_while(scene: Scene) -> None:
    in_state("scanning", "connecting")(scene)
    assert scene.worker is not None
    scene.worker.kill()
    scene.cancel()
    scene.executor.stop()
    scene.start()
    wait_until(lambda: scene.worker and "Could not end scans of dead processes" in scene.worker.log, END)
    assert stored_run(scene.web, scene.run_id).lease_owner is not None
    scene.executor.start()
    assert scene.executor.cancelled.wait(NOTICED)
    ended_with_its_job(scene)


def test_a_result_outlives_a_database_that_is_away_and_the_worker_that_waited_for_it(scene: Scene) -> None:
    in_state("reporting", "matching")(scene)
    assert scene.worker is not None
    with scene.database.away():
        scene.executor.let_end.set()
        wait_until(lambda: scene.worker and "The database is away" in scene.worker.log, END)
        scene.worker.kill()
        scene.start()  # it comes up without the database, too
        assert "Could not look for runs of dead processes" in scene.worker.log
    scene.wait_for_status("success")
    ended_well(scene)


def test_a_scan_is_taken_up_before_the_jobs_that_waited_behind_it(scene: Scene) -> None:
    in_state("scanning", "connecting")(scene)
    with scene.web.begin() as session:
        waiting = [
            create_run(session, add_task(session, f"vuls-target-{number}"), "manual", "anna")[0].id for number in (2, 3)
        ]
    wait_until(lambda: all(stored_run(scene.web, run_id).sent_at for run_id in waiting), END)
    assert scene.worker is not None
    scene.worker.kill()
    scene.start()
    wait_until(lambda: stored_run(scene.web, scene.run_id).takeovers, END, f"the take-over: {scene.worker.log[-3000:]}")
    assert [stored_run(scene.web, run_id).status for run_id in waiting] == ["queued", "queued"]
    scene.executor.let_end.set()
    runs = [scene.run_id, *waiting]
    wait_until(lambda: all(stored_run(scene.web, run_id).status == "success" for run_id in runs), END)
    assert len(scene.executor.jobs) == 3


@pytest.mark.long
def test_a_scan_that_a_stopping_worker_cannot_wait_for_is_taken_up_after_the_restart(scene: Scene) -> None:
    in_state("scanning", "connecting")(scene)
    assert scene.worker is not None
    scene.worker.process.send_signal(signal.SIGTERM)
    wait_until(lambda: scene.worker and "Warm shutdown" in scene.worker.log, END)
    with scene.database.away():
        scene.worker.kill()  # worker_stop_timeout is over
        scene.start()
    wait_until(lambda: stored_run(scene.web, scene.run_id).takeovers, END)
    scene.executor.let_end.set()
    scene.wait_for_status("success")
    ended_well(scene)


@pytest.mark.long
def test_a_stopping_worker_ends_its_scan_and_goes(scene: Scene) -> None:
    in_state("scanning", "connecting")(scene)
    assert scene.worker is not None
    scene.worker.process.send_signal(signal.SIGTERM)
    wait_until(lambda: scene.worker and "Warm shutdown" in scene.worker.log, END)
    scene.executor.let_end.set()
    assert scene.worker.process.wait(END) == 0
    ended_well(scene)


def test_a_dead_workers_cancelled_scan_is_ended_by_its_successor_before_that_has_redis(scene: Scene) -> None:
    scene.start()
    scene.queue()
    assert scene.executor.scanning.wait(END)
    assert scene.worker
    scene.worker.kill()
    with scene.web.begin() as session:
        assert cancel_run(session, scene.run_id)
    successor = scene.start_worker(lease_seconds=LEASE, heartbeat_seconds=1, redis_port=1)
    assert scene.executor.cancelled.wait(END), successor.log
    assert " ready." not in successor.log


def test_without_any_worker_the_run_is_failed_within_two_heartbeats(
    sessions_as: Callable[..., Sessions],
    settings: Settings,
    executor: ExecutorDouble,
    start_worker: WorkerStarter,
    database: Database,
) -> None:
    web = sessions_as("web")
    executor.let_end.clear()
    worker = start_worker(lease_seconds=2, heartbeat_seconds=1)
    with scheduling(settings.model_copy(update={"lease_seconds": 2.0, "heartbeat_seconds": 1.0})):
        worker.wait_until_ready()
        with web.begin() as session:
            run_id = create_run(session, add_task(session), "manual", "anna")[0].id
        assert executor.scanning.wait(END)
        worker.kill()
        ((lease_left,),) = database.execute("SELECT lease_expires_at - clock_timestamp() FROM run")
        wait_until(lambda: stored_run(web, run_id).status == "failed", END)
    run = stored_run(web, run_id)
    assert run.result_data["reason"]["code"] == "worker_lost"
    # What is left is counted from the last heartbeat; how soon the scheduler sees its end is the machine's.
    assert lease_left <= timedelta(seconds=2)
    assert told(web) == [(run_id, status) for status in ("queued", "started", "failed")]
