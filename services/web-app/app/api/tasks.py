"""`/api/scheduled-tasks`: what to scan when, and now."""

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Path
from sqlalchemy.orm import Session

from app.api.announce import announce
from app.api.auth import SignedIn, User
from app.api.deps import Db, Limit, page
from app.api.instance import CurrentInstance
from app.api.problems import forbidden, invalid, not_found
from app.api.schemas import Id, NewTask, Page, RunShown, TaskChange, TaskShown
from app.db import hosts, runs, tasks
from app.db.models import ScheduledTask
from app.domain.schedule import BadScheduleError

router = APIRouter(prefix="/api/scheduled-tasks", tags=["scheduled tasks"])
TaskId = Annotated[Id, Path()]


@router.get("", response_model=Page[TaskShown])
async def list_tasks(db: Db, user: User, after: Id | None = None, limit: Limit = 100) -> dict[str, Any]:
    """List the tasks whose hosts one may see."""
    rows = await db.run_sync(tasks.list_tasks, user.access, after, limit + 1)
    return page(rows, limit, tasks.task_json, lambda task: task.id)


@router.post("", status_code=201, response_model=TaskShown)
async def create_task(body: NewTask, db: Db, user: User) -> dict[str, Any]:
    """Add a task for a host that one may operate."""
    host = await db.run_sync(hosts.get_host, user.access, body.host_id)
    if host is None:
        raise invalid("host_id", "There is no such host, or you may not see it.")
    _require_operator(user, host.id)

    def create(session: Session) -> ScheduledTask:
        return tasks.create_task(session, host=host, **body.model_dump(exclude={"host_id"}))

    try:
        task = await db.run_sync(create)
    except BadScheduleError as error:
        raise invalid(_schedule_field(error), _sentence(error)) from error
    await db.commit()
    return tasks.task_json(task)


@router.get("/{task_id}", response_model=TaskShown)
async def get_task(task_id: TaskId, db: Db, user: User) -> dict[str, Any]:
    """Show a task."""
    return tasks.task_json(await _find(task_id, db, user))


@router.patch("/{task_id}", response_model=TaskShown)
async def change_task(task_id: TaskId, body: TaskChange, db: Db, user: User) -> dict[str, Any]:
    """Change name, schedule or time limit, pause or resume. Runs that are queued or started keep their limit."""
    task = await _find(task_id, db, user, lock=True)
    _require_operator(user, task.host_id)
    if body.name is not None:
        task.name = body.name
    if "time_limit_minutes" in body.model_fields_set:
        task.time_limit_minutes = body.time_limit_minutes
    try:
        tasks.set_schedule(
            task,
            body.cron if "cron" in body.model_fields_set else task.cron,
            body.timezone or task.timezone,
            enabled=task.enabled if body.enabled is None else body.enabled,
        )
    except BadScheduleError as error:
        raise invalid(_schedule_field(error), _sentence(error)) from error
    await db.commit()
    return tasks.task_json(task)


@router.delete("/{task_id}", status_code=204)
async def delete_task(task_id: TaskId, db: Db, user: User) -> None:
    """Remove a task. Its runs stay."""
    task = await _find(task_id, db, user, lock=True)
    _require_operator(user, task.host_id)
    await db.delete(task)
    await db.commit()


@router.post("/{task_id}/run", status_code=202, response_model=RunShown)
async def run_task(
    task_id: TaskId, db: Db, user: User, instance: CurrentInstance, background: BackgroundTasks
) -> dict[str, Any]:
    """Queue a run now. Accepted means stored: the scheduler sends the job, later if Redis is away."""
    task = await _find(task_id, db, user)
    _require_operator(user, task.host_id)
    run, event = await db.run_sync(runs.create_run, task, "manual", user.access.name)
    await db.commit()
    await announce(event, db, instance, background)
    return runs.run_json(run)


@router.get("/{task_id}/runs", response_model=Page[RunShown])
async def list_task_runs(
    task_id: TaskId, db: Db, user: User, before: Id | None = None, limit: Limit = 50
) -> dict[str, Any]:
    """List the runs of a task, newest first."""
    await _find(task_id, db, user)
    rows = await db.run_sync(runs.list_runs, user.access, task_id, before, limit + 1)
    return page(rows, limit, runs.run_json, lambda run: run.id)


async def _find(task_id: int, db: Db, user: SignedIn, *, lock: bool = False) -> ScheduledTask:
    task = await db.run_sync(lambda session: tasks.get_task(session, user.access, task_id, lock=lock))
    if task is None:
        raise not_found("task")
    return task


def _require_operator(user: SignedIn, host_id: int) -> None:
    if not user.access.may_operate(host_id):
        raise forbidden("Viewers may look, not run or change. Ask an administrator for the operator role.")


def _schedule_field(error: BadScheduleError) -> str:
    return "timezone" if "time zone" in str(error) else "cron"


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
