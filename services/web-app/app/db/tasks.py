"""Scheduled tasks as a user may see them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from app.db.hosts import visible
from app.db.models import Host, ScheduledTask
from app.domain.permissions import Access
from app.domain.schedule import Schedule
from app.domain.status import ScanType
from app.domain.times import wire_time


def list_tasks(
    session: Session, access: Access, after: int | None = None, limit: int | None = None
) -> Sequence[ScheduledTask]:
    """Return all tasks, or up to `limit`, whose id is above `after`, lowest id first."""
    query = (
        select(ScheduledTask)
        .where(visible(ScheduledTask.host_id, access))
        .options(joinedload(ScheduledTask.host))
        .order_by(ScheduledTask.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(ScheduledTask.id > after)
    return session.scalars(query).all()


def get_task(session: Session, access: Access, task_id: int, *, lock: bool = False) -> ScheduledTask | None:
    """Return a task; None where there is none that `access` may see.

    `lock` keeps it as it is until the caller's transaction ends: the scheduler passes over it meanwhile, and others who
    would change it wait.
    """
    query = (
        select(ScheduledTask)
        .where(ScheduledTask.id == task_id, visible(ScheduledTask.host_id, access))
        .options(joinedload(ScheduledTask.host))
    )
    return session.scalar(query.with_for_update(of=ScheduledTask) if lock else query)


def create_task(  # noqa: PLR0913  (a row's columns)
    session: Session,
    *,
    name: str,
    host: Host,
    scan_type: ScanType,
    cron: str | None = None,
    timezone: str = "UTC",
    enabled: bool = True,
    time_limit_minutes: int | None = None,
    task_id: int | None = None,
) -> ScheduledTask:
    """Add a task to the caller's transaction, with its first due time; without `task_id` it gets the system's next.

    Raises:
        BadScheduleError: the schedule cannot be used.
    """
    task = ScheduledTask(id=task_id, name=name, host=host, scan_type=scan_type, time_limit_minutes=time_limit_minutes)
    session.add(task)
    set_schedule(task, cron, timezone, enabled=enabled)
    session.flush()
    return task


def set_schedule(task: ScheduledTask, cron: str | None, timezone: str, *, enabled: bool) -> None:
    """Give `task` a schedule (None: by hand only) and the due time that follows from it.

    The schedule that it has already changes nothing: a due time that has come and has not been fired yet stays due.

    Raises:
        BadScheduleError: the schedule cannot be used; the task is as it was.
    """
    schedule = Schedule(cron or "0 0 * * *", timezone)
    same = (cron, timezone, enabled) == (task.cron, task.timezone, task.enabled)
    if same and task.next_due_at is not None:
        return
    task.cron, task.timezone, task.enabled = cron, timezone, enabled
    task.paused_by_removal = task.paused_by_removal and not enabled
    task.next_due_at = schedule.next_due(datetime.now(UTC)) if cron and enabled else None


def task_json(task: ScheduledTask) -> dict[str, Any]:
    """Return what HTTP bodies say of a task."""
    return {
        "id": task.id,
        "name": task.name,
        "host_id": task.host_id,
        "host_name": task.host_name,
        "scan_type": task.scan_type,
        "time_limit_minutes": task.time_limit_minutes,
        "cron": task.cron,
        "timezone": task.timezone,
        "enabled": task.enabled,
        "next_due_at": wire_time(task.next_due_at),
    }
