"""Schedulers as they run: several, killed, with a Redis that comes and goes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg
import pytest

from app.config import Settings
from app.scheduler.service import Clock
from tests.conftest import Sessions
from tests.db.rows import add_task, queue_run
from tests.redis_server import OwnRedis
from tests.scheduler.conftest import FastClock, scheduling
from tests.services import PASSWORD, Database
from tests.waiting import wait_until

MARGIN = 1.0  # seconds that a busy machine may take longer than promised
Maker = Callable[..., Settings]
Sessioner = Callable[..., Sessions]
HOLDER = (
    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND objid = 4714 AND granted AND datname = current_database()"
)
SCHEDULERS = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE application_name LIKE 'vuls-scheduler %'"


def has_runs(database: Database, count: int) -> bool:
    return len(database.execute("SELECT id FROM run")) >= count


def minute_task(web: Sessions, clock: FastClock) -> int:
    with web.begin() as session:
        task = add_task(session, cron="* * * * *")
        task.next_due_at = clock().replace(second=0, microsecond=0) + timedelta(minutes=1)
        return task.id


def test_a_minute_schedule_fires_once_a_minute_though_the_active_scheduler_is_killed(
    sessions_as: Sessioner,
    scheduler_settings: Maker,
    start_process: Callable[[Settings, Clock], BaseProcess],
    database: Database,
) -> None:
    clock = FastClock()
    processes = {name: start_process(scheduler_settings(instance=name), clock) for name in ("vuls-web-1", "vuls-web-2")}

    def fired() -> int:
        return len(database.execute("SELECT id FROM run"))

    wait_until(lambda: len(database.execute(SCHEDULERS)) == 2 and database.execute(HOLDER), 60)
    minute_task(sessions_as("web"), clock)
    wait_until(lambda: fired() >= 2, 30)
    ((holder,),) = database.execute(HOLDER)
    active = processes[holder.removeprefix("vuls-scheduler ")]
    assert active.pid is not None
    os.kill(active.pid, signal.SIGKILL)
    started = time.monotonic()
    wait_until(lambda: database.execute(HOLDER) not in ([], [(holder,)]), 60)
    assert time.monotonic() - started < 2 + MARGIN
    count = fired()
    wait_until(lambda: fired() >= count + 2, 30)
    times = [moment for (moment,) in database.execute("SELECT scheduled_for FROM run ORDER BY scheduled_for")]
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(minutes=1)}


def test_a_click_becomes_a_job_within_half_a_second(
    sessions_as: Sessioner, scheduler_settings: Maker, own_redis: OwnRedis, database: Database
) -> None:
    settings = scheduler_settings(redis_host=own_redis.host, redis_port=own_redis.port, scheduler_tick=0.3)
    with scheduling(settings):
        queue_run(sessions_as("web"), "vuls-target-1")
        wait_until(lambda: own_redis.queue_length("scan.default") == 1, 60)
        run, _ = queue_run(sessions_as("web"), "vuls-target-2", "other")
        wait_until(lambda: own_redis.queue_length("scan.other") == 1, 60)
    # By the clock of the database, so that only the scheduler's own time counts.
    ((took,),) = database.execute(f"SELECT extract(epoch FROM sent_at - created_at) FROM run WHERE id = {run.id}")
    assert took < 0.5 + MARGIN


def test_jobs_lost_with_redis_are_sent_again_as_soon_as_it_is_back(
    sessions_as: Sessioner, scheduler_settings: Maker, own_redis: OwnRedis
) -> None:
    settings = scheduler_settings(redis_host=own_redis.host, redis_port=own_redis.port, resend_after=3600)
    with scheduling(settings):
        queue_run(sessions_as("web"))
        wait_until(lambda: own_redis.queue_length("scan.default") == 1)
        own_redis.signal(signal.SIGKILL)
        own_redis.start()
        wait_until(lambda: own_redis.queue_length("scan.default") == 1)


def test_a_click_while_redis_is_away_is_sent_when_it_is_back(
    sessions_as: Sessioner, scheduler_settings: Maker, own_redis: OwnRedis
) -> None:
    settings = scheduler_settings(redis_host=own_redis.host, redis_port=own_redis.port, resend_after=3600)
    own_redis.signal(signal.SIGKILL)
    with scheduling(settings):
        queue_run(sessions_as("web"))
        own_redis.start()
        wait_until(lambda: own_redis.queue_length("scan.default") == 1)


def test_a_job_that_nobody_claims_is_sent_again(
    sessions_as: Sessioner, scheduler_settings: Maker, own_redis: OwnRedis
) -> None:
    settings = scheduler_settings(redis_host=own_redis.host, redis_port=own_redis.port, resend_after=0.3)
    with scheduling(settings):
        queue_run(sessions_as("web"))
        wait_until(lambda: own_redis.queue_length("scan.default") >= 3)


@pytest.mark.parametrize("trouble", [signal.SIGKILL, signal.SIGSTOP], ids=["gone", "hangs"])
def test_due_times_fire_on_time_whatever_redis_does(
    sessions_as: Sessioner, scheduler_settings: Maker, own_redis: OwnRedis, database: Database, trouble: signal.Signals
) -> None:
    clock = FastClock()
    minute_task(sessions_as("web"), clock)
    settings = scheduler_settings(redis_host=own_redis.host, redis_port=own_redis.port)
    own_redis.signal(trouble)
    try:
        with scheduling(settings, clock):
            for count in (1, 2):
                wait_until(partial(has_runs, database, count))
                ((scheduled_for,),) = database.execute("SELECT max(scheduled_for) FROM run")
                assert clock() - scheduled_for < timedelta(seconds=30)  # 1.5 s of real time
    finally:
        if trouble == signal.SIGSTOP:
            own_redis.signal(signal.SIGCONT)
    with scheduling(settings, clock):
        if trouble == signal.SIGKILL:
            own_redis.start()
        wait_until(lambda: own_redis.queue_length("scan.default") >= 1)  # one run of a host at a time


def test_a_database_that_was_away_ends_no_living_run(
    sessions_as: Sessioner, scheduler_settings: Maker, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """After an outage all leases have expired; each worker gets one lease's time to renew its own."""
    web = sessions_as("web")
    living, silent = queue_run(web, "vuls-target-1")[0], queue_run(web, "vuls-target-2")[0]
    with scheduling(scheduler_settings(lease_seconds=6)):
        wait_until(lambda: database.execute(HOLDER))
        database.execute(
            "UPDATE run SET status = 'started', lease_owner = 'a', lease_expires_at = now() - interval '1 second'"
        )
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database.name]
            )
        wait_until(lambda: "out of service: the database is away" in caplog.text)
        wait_until(lambda: database.execute(HOLDER))
        database.execute("UPDATE run SET lease_expires_at = now() + interval '1 hour' WHERE id = %s", living.id)
        wait_until(lambda: database.execute("SELECT id FROM run WHERE status = 'failed'") == [(silent.id,)])
    assert database.execute("SELECT status FROM run WHERE id = %s", living.id) == [("started",)]


def test_a_stopped_scheduler_hands_over_and_says_who_is_active(
    scheduler_settings: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with scheduling(scheduler_settings(instance="vuls-web-1")) as stop:
        wait_until(lambda: "Scheduler vuls-web-1 is active" in caplog.messages)
        with scheduling(scheduler_settings(instance="vuls-web-2")):
            wait_until(lambda: "Scheduler vuls-web-2 stands by; active is vuls-scheduler vuls-web-1" in caplog.messages)
            stop.set()
            wait_until(lambda: "Scheduler vuls-web-2 is active" in caplog.messages, 10)


def test_the_program_says_that_it_is_active_and_ends_cleanly_at_a_term(database: Database, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from app.scheduler import main; main()"],
            cwd=Path(__file__).parents[2],
            env=os.environ | database.environment("scheduler", instance="vuls-web-1"),
            stderr=output,
        )
    try:
        wait_until(lambda: "Scheduler vuls-web-1 is active" in log.read_text(), 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert "Scheduler vuls-web-1 is out of service: stopping" in log.read_text()
    wait_until(lambda: database.execute(HOLDER) == [], what="the end of its session")
    assert PASSWORD not in log.read_text()


def test_the_active_scheduler_deletes_scans_that_are_old_and_replaced(
    sessions_as: Sessioner, scheduler_settings: Maker, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = queue_run(sessions_as("web"))
    database.execute(
        "INSERT INTO scan"
        " (id, run_id, host_id, attempt, created_at, family, release, verdict, demo, package_count, result)"
        f" SELECT n, {run.id}, {run.host_id}, 1, now() - (29.5 - n) * interval '1 day', '', '', 'assessed', false, 1,"
        " '{}'"
        " FROM generate_series(1, 20) AS n"
    )
    caplog.set_level("INFO")
    with scheduling(scheduler_settings(scan_retention_days=15)):
        wait_until(lambda: "Deleted 14 scans" in caplog.text, 60)
    assert database.execute("SELECT min(id), count(*) FROM scan") == [(15, 6)]


def test_a_log_that_cannot_be_locked_is_told_and_stops_nothing(
    sessions_as: Sessioner, scheduler_settings: Maker, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ((week,),) = database.execute(
        "SELECT max(inhrelid::regclass::text) FROM pg_inherits"
        " WHERE inhparent = 'event'::regclass AND inhrelid::regclass::text LIKE 'event_w%'"
    )
    database.execute(f"DROP TABLE {week}")
    clock = FastClock()
    minute_task(sessions_as("web"), clock)
    with psycopg.connect(database.admin_url) as dump:
        dump.execute("LOCK TABLE event IN ACCESS SHARE MODE")  # as pg_dump does
        with scheduling(scheduler_settings(), clock):
            wait_until(lambda: "Could not lock the event log" in caplog.text, 30)
            wait_until(partial(has_runs, database, 1), 30)
    with psycopg.connect(database.admin_url) as owner:
        assert owner.execute("SELECT event_maintain(90)").fetchall() == [(0,)]
