"""Which hosts are being scanned, and which queued runs there is room for."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, case, func, null, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.db.models import Host, Run
from app.domain.room import Limits, Place, Room

_HOST_LOCK, _GROUP_LOCK = 4715, 4716  # of advisory locks of two numbers
_TOUCHES_HOST = Run.kind != "reassess"
Start = Literal["free", "not_queued", "host_held", "group_full"]


def holds(run: type[Run]) -> ColumnElement[bool]:
    """Return the condition that a run holds its host: it is started, or was ended while its scan may go on a bit."""
    return run.lease_expires_at.is_not(None) & or_(
        run.status == "started", run.lease_expires_at > func.clock_timestamp()
    )


def host_is_held() -> ColumnElement[bool]:
    """Return the condition that some run holds the host of a run."""
    holder = aliased(Run)
    return select(holder.id).where(holder.host_id == Run.host_id, holds(holder)).exists()


def may_start(session: Session, run_id: int, group_limit: int) -> Start:
    """Tell whether the caller's transaction, which alone may say so of the host then, may start a queued run.

    A worker sees the runs of its own zone: a hypervisor's limit over several zones is the scheduler's to keep.
    """
    query = select(Run.host_id, _counting(Host.hypervisor_group)).join(Host, Host.id == Run.host_id)
    found = session.execute(query.where(Run.id == run_id, Run.status == "queued")).one_or_none()
    if found is None:
        return "not_queued"
    host_id, group = found
    session.execute(select(func.pg_advisory_xact_lock(_HOST_LOCK, host_id % 2**31)))
    if session.scalar(select(Run.id).where(Run.host_id == host_id, holds(Run)).limit(1)) is not None:
        return "host_held"
    if group is None or group_limit == 0:
        return "free"
    session.execute(select(func.pg_advisory_xact_lock(_GROUP_LOCK, func.hashtext(group))))
    in_group = select(func.count()).select_from(Run).join(Host, Host.id == Run.host_id)
    count = session.scalar(in_group.where(Host.hypervisor_group == group, _TOUCHES_HOST, holds(Run))) or 0
    return "free" if count < group_limit else "group_full"


def unsent_that_fit(session: Session, limits: Limits, most: int, sent_counts: float) -> list[int]:
    """Return up to `most` queued runs whose job is not sent and may be, oldest first.

    What is started, and what was sent and is unclaimed, takes room; so does each run that is returned. Of its
    hypervisor a sent one takes room for `sent_counts` seconds only: a zone whose workers are gone does not stop others.
    """
    is_queued = Run.status == "queued"
    counts = holds(Run) | (Run.sent_at > func.clock_timestamp() - timedelta(seconds=sent_counts))
    group = case((counts, Host.hypervisor_group), else_=null())
    taken = _places(session, _place(group).where(holds(Run) | (is_queued & Run.sent_at.is_not(None))))
    room = Room(limits, (place for _, place in taken))
    # Those behind the oldest of a host cannot fit.
    waiting = _place(Host.hypervisor_group).where(is_queued, Run.sent_at.is_(None))
    oldest = waiting.order_by(Run.host_id, Run.id).ext(distinct_on(Run.host_id)).subquery()
    ids: list[int] = []
    for run_id, place in _places(session, select(oldest).order_by(oldest.c.id)):
        if len(ids) == most:
            break
        if room.take(place):
            ids.append(run_id)
    return ids


def _counting(column: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """Return what a run counts toward: nothing where it touches no host."""
    return case((_TOUCHES_HOST, column), else_=null())


def _place(group: ColumnElement[Any] | InstrumentedAttribute[Any]) -> Select[Any]:
    counted = _counting(Run.zone).label("zone"), _counting(group).label("group")
    return select(Run.id, Run.host_id, *counted).join(Host, Host.id == Run.host_id)


def _places(session: Session, query: Select[Any]) -> Iterable[tuple[int, Place]]:
    for run_id, host_id, zone, group in session.execute(query).all():
        yield run_id, Place(host_id, zone, group)
