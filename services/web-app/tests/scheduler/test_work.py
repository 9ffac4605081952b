"""What a tick does to the database."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from app.db.events import read_events
from app.db.models import Run, ScheduledTask
from app.db.runs import claim_run
from app.scheduler.work import clean_up, end_silent_runs, fire_due_tasks
from tests.conftest import Sessions
from tests.db.rows import add_task, queue_run
from tests.services import Database

Maker = Callable[..., Sessions]
DUE = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def scheduler(sessions_as: Maker) -> Sessions:
    return sessions_as("scheduler")


def due_task(web: Sessions, name: str = "vuls-target-1", cron: str = "* * * * *") -> int:
    with web.begin() as session:
        task = add_task(session, name, cron="* * * * *")
        task.cron, task.next_due_at = cron, DUE
        return task.id


def tick(scheduler: Sessions, now: datetime) -> int:
    with scheduler.begin() as session:
        return len(fire_due_tasks(session, now, HOUR))


def runs_of(web: Sessions, task_id: int) -> list[datetime | None]:
    with web() as session:
        return list(session.scalars(select(Run.scheduled_for).where(Run.task_id == task_id).order_by(Run.id)))


def next_due(web: Sessions, task_id: int) -> datetime | None:
    with web() as session:
        return session.get_one(ScheduledTask, task_id).next_due_at


def test_a_due_task_gets_one_run_and_its_next_time(sessions_as: Maker, scheduler: Sessions) -> None:
    web = sessions_as("web")
    task_id = due_task(web)
    assert tick(scheduler, DUE - timedelta(seconds=1)) == 0
    assert [tick(scheduler, DUE), tick(scheduler, DUE), tick(scheduler, DUE + timedelta(seconds=59))] == [1, 0, 0]
    assert runs_of(web, task_id) == [DUE]
    assert next_due(web, task_id) == DUE + timedelta(minutes=1)
    with web() as session:
        _, (event,) = read_events(session, 0, 10)
    assert (event.data["status"], event.data["task_id"]) == ("queued", task_id)


def test_a_due_time_that_has_a_run_gets_no_second_one(
    sessions_as: Maker, scheduler: Sessions, database: Database
) -> None:
    web = sessions_as("web")
    task_id = due_task(web)
    assert tick(scheduler, DUE) == 1
    database.execute("UPDATE scheduled_task SET next_due_at = %s", DUE)  # as after a restore of this table alone
    assert tick(scheduler, DUE) == 0
    assert runs_of(web, task_id) == [DUE]
    assert next_due(web, task_id) == DUE + timedelta(minutes=1)


def test_missed_times_become_one_run(sessions_as: Maker, scheduler: Sessions) -> None:
    web = sessions_as("web")
    task_id = due_task(web)
    assert tick(scheduler, DUE + timedelta(minutes=7, seconds=5)) == 1
    assert runs_of(web, task_id) == [DUE + timedelta(minutes=7)]


def test_a_time_too_long_ago_is_skipped(sessions_as: Maker, scheduler: Sessions) -> None:
    web = sessions_as("web")
    task_id = due_task(web, cron="0 10 * * *")
    assert tick(scheduler, DUE + timedelta(hours=2)) == 0
    assert (runs_of(web, task_id), next_due(web, task_id)) == ([], DUE + timedelta(days=1))


def test_a_schedule_that_cannot_be_used_stops_no_other(
    sessions_as: Maker, scheduler: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    web = sessions_as("web")
    bad, good = due_task(web, "vuls-target-1", "61 * * * *"), due_task(web, "vuls-target-2")
    assert tick(scheduler, DUE) == 1
    assert (runs_of(web, bad), next_due(web, bad), runs_of(web, good)) == ([], None, [DUE])
    assert f"Task {bad} has a schedule that cannot be used" in caplog.text


def test_a_disabled_task_does_not_fire(sessions_as: Maker, scheduler: Sessions, database: Database) -> None:
    due_task(sessions_as("web"))
    database.execute("UPDATE scheduled_task SET enabled = false")
    assert tick(scheduler, DUE) == 0


def test_a_run_of_a_lost_worker_ends_with_a_reason(sessions_as: Maker, scheduler: Sessions) -> None:
    web = sessions_as("web")
    run, _ = queue_run(web)
    with sessions_as("worker").begin() as session:
        assert claim_run(session, run.id, "a", -1)
    with scheduler.begin() as session:
        (event,) = end_silent_runs(session)
    assert (event.data["status"], event.data["result_data"]["reason"]["code"]) == ("failed", "worker_lost")
    assert event.data["result_data"]["vulnerabilities"] is None


def test_what_is_over_is_cleaned_up_and_the_rest_stays(
    sessions_as: Maker, scheduler: Sessions, database: Database
) -> None:
    database.execute("INSERT INTO app_user (id, name, role) VALUES (1, 'anna', 'admin')")
    for token, offset in (("a", -1), ("b", 60)):
        database.execute(
            "INSERT INTO user_session (token_hash, user_id, expires_at)"
            " VALUES (%s, 1, now() + make_interval(secs => %s))",
            token.encode(),
            offset,
        )
        database.execute(
            "INSERT INTO login_failure (user_name, failed_at) VALUES (%s, now() - make_interval(secs => %s))",
            token,
            300 + offset * -2,
        )
    run, _ = queue_run(sessions_as("web"))
    for n, days in ((1, 9), (2, 6)):
        database.execute(
            "INSERT INTO run_log (run_id, n, attempt, text, created_at)"
            " VALUES (%s, %s, 1, 'x', now() - make_interval(days => %s))",
            *(run.id, n, days),
        )
    with scheduler.begin() as session:
        assert clean_up(session, login_window=300, log_days=7) == 3
    assert database.execute("SELECT n FROM run_log") == [(2,)]
    assert database.execute("SELECT token_hash FROM user_session") == [(b"b",)]
    assert database.execute("SELECT user_name FROM login_failure") == [("b",)]
