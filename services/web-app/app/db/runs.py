"""Runs: one row each, one lease at a time, every change told by an event of the same transaction.

All changes are guarded UPDATEs: they name the state they start from, and where another got there first they change
nothing and say so. So a job that is delivered twice, an attempt whose lease was given away and a late cancel can never
finish a run that is finished.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, TextClause, case, func, select, text, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased, joinedload

from app.db.events import record_event
from app.db.hosts import visible
from app.db.models import Event, Host, Run, ScheduledTask
from app.db.room import host_is_held, may_start, unsent_that_fit
from app.domain.envelope import TASK_UPDATE, task_update_data
from app.domain.owner import Owner, nobody_of
from app.domain.permissions import Access
from app.domain.room import Limits
from app.domain.status import FINISHED_STATUSES, OPEN_STATUSES, HostRunKind, RunKind, RunStatus, ScanType, Trigger
from app.domain.times import wire_time

_HOST_RUN_NAMES: dict[HostRunKind, str] = {"check": "Test connection of {host}", "reassess": "Assess {host} again"}
MOST_TAKEOVERS = 3  # of an attempt: what kills its worker each time shall not do so for ever
NO_LIMITS = Limits()
_MAY_BE_JOINED = Run.takeovers < MOST_TAKEOVERS
_SEND_FREED_EVERY = 1.0  # seconds
# The executor ends a job 60 s after it was last asked about, or sooner, and needs some seconds for it.
_GOES_ON = timedelta(seconds=70)


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that is the caller's now. `event` is None when it joined an attempt whose worker is gone."""

    run: Run
    event: Event | None


def _record(session: Session, run: Run, at: datetime) -> Event:
    data = task_update_data(run.task_id, run.id, run.status, run.task_name, run.result_data, at)
    data |= {"host_id": run.host_id, "host_name": run.host.name}
    if run.kind != "scan":
        data["kind"] = run.kind
    return record_event(session, TASK_UPDATE, run.host_id, data)


def _now(session: Session) -> datetime:
    """Return the database's time: leases of many hosts are measured by one clock."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now


def _change(session: Session, *guard: ColumnElement[bool], **values: Any) -> Run | None:  # noqa: ANN401
    """Change the run that `guard` names, if it still is in that state."""
    run_id = session.scalar(update(Run).where(*guard).values(**values).returning(Run.id))
    return None if run_id is None else _load(session, run_id)


def _load(session: Session, run_id: int) -> Run | None:
    query = select(Run).where(Run.id == run_id).options(joinedload(Run.host))
    return session.scalar(query, execution_options={"populate_existing": True})


def _lease_end(seconds: float) -> ColumnElement[datetime]:
    return func.clock_timestamp() + timedelta(seconds=seconds)


def create_run(
    session: Session,
    task: ScheduledTask,
    trigger: Trigger,
    requested_by: str | None = None,
    scheduled_for: datetime | None = None,
) -> tuple[Run, Event]:
    """Queue a run of `task`; the scheduler sends the job.

    Raises:
        sqlalchemy.exc.IntegrityError: this due time has a run already.
    """
    values = {
        "task_id": task.id,
        "task_name": task.name,
        "host_id": task.host.id,
        "zone": task.host.zone,
        "scan_type": task.scan_type,
        "time_limit_minutes": task.time_limit_minutes,
        "trigger": trigger,
        "requested_by": requested_by,
        "scheduled_for": scheduled_for,
    }
    return _insert(session, values)


def create_host_run(session: Session, host: Host, kind: HostRunKind, requested_by: str) -> tuple[Run, Event]:
    """Queue a run that belongs to no task; the scheduler sends the job."""
    values = {
        "task_name": _HOST_RUN_NAMES[kind].format(host=host.name),
        "host_id": host.id,
        "zone": host.zone,
        "kind": kind,
        "scan_type": "fast",
        "trigger": "manual",
        "requested_by": requested_by,
    }
    return _insert(session, values)


def _insert(session: Session, values: Mapping[str, Any]) -> tuple[Run, Event]:
    insertion = (
        insert(Run).values(**values, result_data={}).on_conflict_do_nothing(index_elements=[Run.id]).returning(Run.id)
    )
    run_id = None
    while run_id is None:  # the sequence has come to an id that an ad-hoc run was given: take the next one
        run_id = session.scalar(insertion)
    run = _load(session, run_id)
    assert run is not None  # noqa: S101  (inserted on the line above)
    return run, _record(session, run, _now(session))


def create_adhoc_run(session: Session, run_id: int, host: Host, scan_type: ScanType) -> tuple[Run, Event]:
    """Queue a run without a task under an id of the caller's choice.

    Raises:
        sqlalchemy.exc.IntegrityError: the id is taken.
    """
    run = Run(
        id=run_id,
        task_id=0,
        task_name=f"Scan {host.name}",
        host=host,
        zone=host.zone,
        scan_type=scan_type,
        status="queued",
        trigger="adhoc",
        result_data={},
    )
    session.add(run)
    session.flush()
    return run, _record(session, run, _now(session))


def restart_run(session: Session, run_id: int) -> tuple[Run, Event] | None:
    """Queue a finished run for another attempt; None when it is not finished."""
    run = _change(
        session,
        Run.id == run_id,
        Run.status.in_(FINISHED_STATUSES),
        status="queued",
        started_at=None,
        finished_at=None,
        result_data={},
        phase=None,
        percent=None,
        phase_seconds=None,
    )
    return None if run is None else (run, _record(session, run, _now(session)))


def claim_run(
    session: Session,
    run_id: int,
    owner: str,
    lease_seconds: float,
    is_gone: Callable[[str], bool] = lambda _: False,
    group_limit: int = 0,
) -> Claim | None:
    """Make `owner` the one who works on a run, for `lease_seconds`.

    A queued run begins its next attempt, unless its host is being scanned, or `group_limit` hosts of its hypervisor
    are; the scheduler then sends its job again later. An attempt is joined when it was let go, or when `is_gone` says
    so of its owner, by a process of the owner's host only: that host's executor has the job and goes on with it. One
    whose lease expired while its owner lives is not: the owner would end the job that both have.
    None when someone else has the run, it has to wait, or it is finished.

    Where the hypervisor is full, the job counts as sent all the same: the scheduler may go by another limit, and would
    send it again and again.
    """
    lease = {"lease_owner": owner, "lease_expires_at": _lease_end(lease_seconds)}
    start = may_start(session, run_id, group_limit)
    if start == "free":
        run = _change(
            session,
            Run.id == run_id,
            Run.status == "queued",
            status="started",
            attempt=Run.attempt + 1,
            takeovers=0,
            started_at=func.clock_timestamp(),
            **lease,
        )
        return None if run is None else Claim(run, _record(session, run, _now(session)))
    if start == "host_held":
        give_back(session, run_id)
    return _join(session, run_id, owner, lease, is_gone)


def give_back(session: Session, run_id: int) -> None:
    """Have the job of a queued run sent again as soon as it fits."""
    sent = (Run.id == run_id, Run.status == "queued", Run.sent_at.is_not(None))
    session.execute(update(Run).where(*sent).values(sent_at=None))


def _join(
    session: Session, run_id: int, owner: str, lease: dict[str, Any], is_gone: Callable[[str], bool]
) -> Claim | None:
    query = select(Run.lease_owner).where(Run.id == run_id, Run.status == "started", _MAY_BE_JOINED)
    before = session.scalar(query)
    host = Owner.parse(owner).host
    if before is None or Owner.parse(before).host != host:
        return None
    if before != nobody_of(host) and not is_gone(before):
        return None
    guard = (Run.id == run_id, Run.status == "started", Run.lease_owner == before)
    run = _change(session, *guard, takeovers=Run.takeovers + 1, **lease)
    return None if run is None else Claim(run, None)


def join_orphan(
    session: Session, owner: str, lease_seconds: float, is_gone: Callable[[str], bool] = lambda _: False
) -> Claim | None:
    """Join the oldest attempt of the host of `owner` that was let go or whose process is gone; None: there is none."""
    mine = Run.lease_owner.startswith(nobody_of(Owner.parse(owner).host), autoescape=True)
    query = select(Run.id).where(Run.status == "started", mine, _MAY_BE_JOINED).order_by(Run.id)
    lease = {"lease_owner": owner, "lease_expires_at": _lease_end(lease_seconds)}
    for run_id in session.scalars(query).all():
        claim = _join(session, run_id, owner, lease, is_gone)
        if claim is not None:
            return claim
    return None


def let_go(session: Session, host: str, is_gone: Callable[[str], bool], lease_seconds: float) -> list[int]:
    """Free the attempts of the processes of `host` that are gone, for another process of it; return the runs' ids.

    The scheduler sends their jobs again at once. One that nobody joins within `lease_seconds` ends as lost.
    """
    nobody = nobody_of(host)
    mine = Run.lease_owner.startswith(nobody, autoescape=True) & (Run.lease_owner != nobody)
    query = select(Run.id, Run.lease_owner).where(Run.status == "started", mine, _MAY_BE_JOINED)
    freed: list[int] = []
    for run_id, owner in session.execute(query).all():
        if owner is not None and is_gone(owner):
            guard = (Run.id == run_id, Run.status == "started", Run.lease_owner == owner)
            values = {"lease_owner": nobody, "lease_expires_at": _lease_end(lease_seconds)}
            freed += session.scalars(update(Run).where(*guard).values(**values).returning(Run.id)).all()
    return freed


def give_up(session: Session, run: Run, lease_seconds: float) -> bool:
    """Let go of a claimed run, for another process of its claimant's host.

    As with `let_go`, its job is sent again at once, and it ends as lost where nobody joins it. False when it is the
    claimant's no longer, or was taken over too often.
    """
    assert run.lease_owner is not None  # noqa: S101  (it was claimed)
    nobody = nobody_of(Owner.parse(run.lease_owner).host)
    given_up = (
        update(Run)
        .where(*held(run), _MAY_BE_JOINED)
        .values(lease_owner=nobody, lease_expires_at=_lease_end(lease_seconds))
        .returning(Run.id)
    )
    return session.scalar(given_up) is not None


def held(run: Run) -> tuple[ColumnElement[bool], ...]:
    """Return the guard that a claimed run still is its claimant's."""
    return Run.id == run.id, Run.status == "started", Run.lease_owner == run.lease_owner, Run.attempt == run.attempt


def renew_lease(session: Session, run: Run, lease_seconds: float) -> bool:
    """Keep the lease of a claimed run; False when the run is the claimant's no longer."""
    renewed = update(Run).where(*held(run)).values(lease_expires_at=_lease_end(lease_seconds)).returning(Run.id)
    return session.scalar(renewed) is not None


def is_held(session: Session, run: Run) -> bool:
    """Tell whether a claimed run still is the claimant's."""
    return session.scalar(select(Run.id).where(*held(run))) is not None


def _end(
    session: Session,
    guard: Sequence[ColumnElement[bool]],
    status: RunStatus,
    result_data: dict[str, Any],
    goes_on: ColumnElement[datetime | None] | None = None,
    **more: Any,  # noqa: ANN401
) -> Event | None:
    """End the run; `goes_on` is until when its host stays held, because the scan may not be over.

    Whose the run was stays on record for as long: the scan host of a process that is gone ends what it left behind.
    """
    ended = _change(
        session,
        *guard,
        status=status,
        finished_at=func.clock_timestamp(),
        result_data=result_data,
        lease_owner=None if goes_on is None else Run.lease_owner,
        lease_expires_at=goes_on,
        **more,
    )
    return None if ended is None else _record(session, ended, _now(session))


def finish_run(
    session: Session,
    run: Run,
    status: RunStatus,
    result_data: dict[str, Any],
    phase_seconds: dict[str, float] | None = None,
    *,
    goes_on: bool = False,
) -> Event | None:
    """End a claimed run. None when it is the claimant's no longer: the caller then rolls back what it stored for it.

    `phase_seconds` is what later scans of the host are compared with. The host stays held where the scan `goes_on`.
    """
    more = {} if phase_seconds is None else {"phase_seconds": phase_seconds}
    return _end(session, held(run), status, result_data, _scan_goes_on() if goes_on else None, **more)


def _scan_goes_on() -> ColumnElement[datetime | None]:
    """Return until when a run that somebody else ends may still be scanned for: until its worker or executor knows.

    One that waits for another attempt may hold its host for the attempt before.
    """
    return case((Run.status == "started", func.clock_timestamp() + _GOES_ON), else_=Run.lease_expires_at)


def free_host(session: Session, run: Run) -> None:
    """Let the host of a run that somebody else ended be scanned again: the executor has ended the job of `run`."""
    ended = (Run.id == run.id, Run.attempt == run.attempt, Run.status != "started")
    session.execute(update(Run).where(*ended).values(lease_owner=None, lease_expires_at=None))


def left_behind(session: Session, host: str, is_gone: Callable[[str], bool]) -> list[Run]:
    """Return the runs that others ended, whose scan may go on, and whose process on `host` is gone.

    Nobody else has their jobs ended: whoever gets to know that they are over calls `free_host`.
    """
    mine = Run.lease_owner.startswith(nobody_of(host), autoescape=True)
    query = select(Run).where(Run.status != "started", Run.lease_expires_at.is_not(None), mine).order_by(Run.id)
    return [run for run in session.scalars(query) if run.lease_owner is not None and is_gone(run.lease_owner)]


def cancel_run(session: Session, run_id: int) -> Event | None:
    """End an open run at a person's wish; its worker notices within a second or so. None when it is finished."""
    return _end(session, (Run.id == run_id, Run.status.in_(OPEN_STATUSES)), "cancelled", {}, _scan_goes_on())


def expire_leases(session: Session, result_data: dict[str, Any], limit: int = 100) -> list[Event]:
    """End started runs whose worker has been silent for longer than its lease."""
    silent = (Run.status == "started", Run.lease_expires_at < func.clock_timestamp())
    query = select(Run.id).where(*silent).order_by(Run.id).limit(limit).with_for_update(skip_locked=True)
    ended = [
        _end(session, (Run.id == run_id, *silent), "failed", result_data, _scan_goes_on())
        for run_id in session.scalars(query).all()
    ]
    return [event for event in ended if event is not None]


def jobs_to_send(
    session: Session, resend_after: float, greatest_delay: float, limits: Limits = NO_LIMITS, limit: int = 100
) -> Sequence[Run]:
    """Return the runs whose job is to be sent, oldest first.

    Those are queued runs that were never sent and that `limits` leave room for, queued runs whose job was sent a while
    ago and is unclaimed, and started ones that were let go. Nothing is sent for a host that is being scanned. The wait
    doubles with each time a job was sent: `resend_after` seconds, up to `greatest_delay`.
    """
    wait = func.least(resend_after * func.power(2, func.least(Run.sent_count - 1, 20)), greatest_delay)
    due = Run.sent_at + func.make_interval(0, 0, 0, 0, 0, 0, wait) < func.clock_timestamp()
    again = (Run.status == "queued") & due & ~host_is_held()
    lately = Run.sent_at > func.clock_timestamp() - timedelta(seconds=_SEND_FREED_EVERY)
    freed = (Run.status == "started") & Run.lease_owner.endswith(nobody_of("")) & (Run.sent_at.is_(None) | ~lately)
    new = Run.id.in_(unsent_that_fit(session, limits, limit, resend_after))
    query = select(Run).where(Run.status.in_(OPEN_STATUSES), again | freed | new).order_by(Run.id).limit(limit)
    return session.scalars(query.options(joinedload(Run.host))).all()


def mark_sent(session: Session, run_id: int) -> None:
    """Note that the run's job goes to Redis now."""
    session.execute(
        update(Run)
        .where(Run.id == run_id, Run.status.in_(OPEN_STATUSES))
        .values(sent_at=func.clock_timestamp(), sent_count=func.least(Run.sent_count + 1, 1000))
    )


def mark_unsent(session: Session, run_id: int) -> None:
    """Note that the run's job could not be sent."""
    session.execute(
        update(Run)
        .where(Run.id == run_id, Run.status.in_(OPEN_STATUSES))
        .values(sent_at=None, sent_count=func.greatest(Run.sent_count - 1, 0))
    )


def forget_sent(session: Session) -> int:
    """Have every queued run's job sent again at once; return how many there are. For when Redis may have lost them."""
    forgotten = update(Run).where(Run.status == "queued", Run.sent_at.is_not(None)).values(sent_at=None, sent_count=0)
    return len(session.scalars(forgotten.returning(Run.id)).all())


def _visible_runs(access: Access) -> Select[Run]:
    return select(Run).where(visible(Run.host_id, access)).options(joinedload(Run.host))


def list_runs(
    session: Session, access: Access, task_id: int | None = None, before: int | None = None, limit: int = 50
) -> Sequence[Run]:
    """Return up to `limit` runs whose id is below `before`, newest first, of one task or of all."""
    query = _visible_runs(access).order_by(Run.id.desc()).limit(limit)
    if task_id is not None:
        query = query.where(Run.task_id == task_id)
    if before is not None:
        query = query.where(Run.id < before)
    return session.scalars(query).all()


def get_run(session: Session, access: Access, run_id: int) -> Run | None:
    """Return a run; None where there is none that `access` may see."""
    return session.scalar(_visible_runs(access).where(Run.id == run_id))


def find_run(session: Session, run_id: int) -> Run | None:
    """Return a run as this process's database role sees it, fresh from the database."""
    return _load(session, run_id)


def open_runs(session: Session, access: Access) -> Sequence[Run]:
    """Return the queued and started runs, oldest first."""
    return session.scalars(_visible_runs(access).where(Run.status.in_(OPEN_STATUSES)).order_by(Run.id)).all()


def hosts_with_open_run(session: Session, kind: RunKind) -> set[int]:
    """Return the ids of the hosts of which a run of this kind is queued or started."""
    return set(session.scalars(select(Run.host_id).where(Run.status.in_(OPEN_STATUSES), Run.kind == kind)))


def recent_runs(session: Session, access: Access, limit: int = 50) -> Sequence[Run]:
    """Return the runs that finished last, newest end first."""
    query = _visible_runs(access).where(Run.status.in_(FINISHED_STATUSES))
    return session.scalars(query.order_by(Run.finished_at.desc(), Run.id.desc()).limit(limit)).all()


def last_runs(session: Session, task_ids: Collection[int]) -> dict[int, Run]:
    """Return, by task, the run that finished last.

    Where it brought packages, a later success in assessing those of its host anew takes its place, as in
    `app.db.standing`.
    """
    last = _last_of_tasks(session, task_ids, Run.task_id == ScheduledTask.id, Run.status.in_(FINISHED_STATUSES))
    # The second condition as its index says it.
    anew = (Run.host_id == ScheduledTask.host_id, text("run.kind = 'reassess' AND run.status = 'success'"))
    for task_id, again in _last_of_tasks(session, task_ids, *anew).items():
        scan = last.get(task_id)
        if scan is not None and scan.status == "success" and _end_of(again) > _end_of(scan):
            last[task_id] = again
    return last


def _last_of_tasks(
    session: Session, task_ids: Collection[int], *which: ColumnElement[bool] | TextClause
) -> dict[int, Run]:
    newest = select(Run).where(*which).order_by(Run.finished_at.desc()).limit(1).lateral()
    last = aliased(Run, newest)
    query = select(ScheduledTask.id, last).join_from(ScheduledTask, last, true()).where(ScheduledTask.id.in_(task_ids))
    return dict(session.execute(query.options(joinedload(last.host))).all())


def _end_of(run: Run) -> datetime:
    assert run.finished_at is not None  # noqa: S101  (asked for by status)
    return run.finished_at


def run_json(run: Run) -> dict[str, Any]:
    """Return what HTTP bodies say of a run."""
    return {
        "id": run.id,
        "task_id": run.task_id,
        "task_name": run.task_name,
        "host_id": run.host_id,
        "host_name": run.host_name,
        "kind": run.kind,
        "status": run.status,
        "trigger": run.trigger,
        "time_limit_minutes": run.time_limit_minutes,
        "attempt": run.attempt,
        "created_at": wire_time(run.created_at),
        "started_at": wire_time(run.started_at),
        "finished_at": wire_time(run.finished_at),
        "result_data": run.result_data,
        "phase": run.phase,
        "percent": run.percent if run.status == "started" else None,
    }
