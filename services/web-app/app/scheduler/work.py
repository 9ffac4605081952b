"""What the active scheduler does to the database, each step in a transaction of the caller."""

import logging
from datetime import datetime, timedelta

from sqlalchemy import CursorResult, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from app.db.models import Event, LoginFailure, ScanHost, ScheduledTask, UserSession
from app.db.run_log import delete_old_lines
from app.db.runs import create_run, expire_leases
from app.domain.schedule import BadScheduleError, Schedule, fire
from app.domain.verdict import failed

logger = logging.getLogger(__name__)

_TASKS_AT_ONCE = 200
_SCAN_HOST_KEPT = timedelta(days=30)  # without a word of its worker
WORKER_LOST = failed(
    "worker_lost",
    "The worker that ran this scan has not been heard of for too long. Run `systemctl restart"
    " 'vuls-worker@*'` on the scan host, then press Run to scan again.",
)


def database_now(session: Session) -> datetime:
    """Return the database's time: all schedulers go by one clock."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now


def fire_due_tasks(session: Session, now: datetime, grace: timedelta) -> list[Event]:
    """Queue a run for each task that is due, and set when it is due next; return the runs' events."""
    query = (
        select(ScheduledTask)
        .where(ScheduledTask.enabled, ScheduledTask.next_due_at <= now)
        .options(joinedload(ScheduledTask.host))
        .order_by(ScheduledTask.next_due_at, ScheduledTask.id)
        .limit(_TASKS_AT_ONCE)
        .with_for_update(of=ScheduledTask, skip_locked=True)
    )
    events = [_fire(session, task, now, grace) for task in session.scalars(query).all()]
    return [event for event in events if event is not None]


def _fire(session: Session, task: ScheduledTask, now: datetime, grace: timedelta) -> Event | None:
    if task.cron is None or task.next_due_at is None:
        task.next_due_at = None
        return None
    try:
        firing = fire(Schedule(task.cron, task.timezone), task.next_due_at, now, grace)
    except BadScheduleError as error:
        logger.error("Task %s has a schedule that cannot be used and waits for a new one: %s", task.id, error)  # noqa: TRY400
        task.next_due_at = None
        return None
    due_at, task.next_due_at = task.next_due_at, firing.next_due_at
    if firing.scheduled_for is None:
        logger.warning("Task %s was due at %s, too long ago to run now (misfire)", task.id, due_at)
        return None
    if firing.collapsed:
        logger.warning("Task %s runs once for %s missed due times", task.id, firing.collapsed + 1)
    try:
        with session.begin_nested():
            run, event = create_run(session, task, "schedule", scheduled_for=firing.scheduled_for)
    except IntegrityError:
        logger.warning("Task %s has a run for %s already", task.id, firing.scheduled_for)
        return None
    logger.info("Task %s is due (%s): queued run %s", task.id, firing.scheduled_for, run.id)
    return event


def end_silent_runs(session: Session) -> list[Event]:
    """End the runs whose worker stopped renewing its lease; return their events."""
    events = expire_leases(session, WORKER_LOST.result_data(None))
    for event in events:
        logger.warning("Run %s ended as failed: its worker is lost", event.data["task_run_id"])
    return events


def clean_up(session: Session, login_window: int, log_days: int) -> int:
    """Delete what is over: sessions, refused logins, old logs, scan hosts that are gone; return how many rows went."""
    over = delete(UserSession).where(UserSession.expires_at < func.now())
    counted = delete(LoginFailure).where(LoginFailure.failed_at < func.now() - timedelta(seconds=login_window))
    gone = delete(ScanHost).where(ScanHost.seen_at < func.now() - _SCAN_HOST_KEPT)
    results = [
        session.execute(statement, execution_options={"synchronize_session": False})
        for statement in (over, counted, gone)
    ]
    logs = delete_old_lines(session, log_days)
    return logs + sum(result.rowcount for result in results if isinstance(result, CursorResult))
