"""Which hosts are being scanned, and which queued runs there is room for."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.db.models import Host, Run
from app.domain.room import Limits, Place, Room

_HOST_LOCK, _GROUP_LOCK = 4715, 4716  # of advisory locks of two numbers


def holds(run: type[Run]) -> ColumnElement[bool]:
    """Return the condition that a run holds its host: it is started, or was ended while its scan may go on a bit."""
    return run.lease_expires_at.is_not(None) & or_(
        run.status == "started", run.lease_expires_at > func.clock_timestamp()
    )


def host_is_held() -> ColumnElement[bool]:
    """Return the condition that some run holds the host of a run."""
    holder = aliased(Run)
    return select(holder.id).where(holder.host_id == Run.host_id, holds(holder)).exists()


def may_start(session: Session, run_id: int, group_limit: int) -> bool:
    """Tell whether a queued run may be started by the caller's transaction, which alone may say so of the host then.

    A worker sees the runs of its own zone: a hypervisor's limit over several zones is the scheduler's to keep.
    """
    query = select(Run.host_id, Host.hypervisor_group).join(Host, Host.id == Run.host_id)
    found = session.execute(query.where(Run.id == run_id, Run.status == "queued")).one_or_none()
    if found is None:
        return False
    host_id, group = found
    session.execute(select(func.pg_advisory_xact_lock(_HOST_LOCK, host_id % 2**31)))
    if session.scalar(select(Run.id).where(Run.host_id == host_id, holds(Run)).limit(1)) is not None:
        return False
    if group is None or group_limit == 0:
        return True
    session.execute(select(func.pg_advisory_xact_lock(_GROUP_LOCK, func.hashtext(group))))
    in_group = select(func.count()).select_from(Run).join(Host, Host.id == Run.host_id)
    count = session.scalar(in_group.where(Host.hypervisor_group == group, holds(Run))) or 0
    return count < group_limit


def unsent_that_fit(session: Session, limits: Limits, most: int) -> list[int]:
    """Return up to `most` queued runs whose job is not sent and may be, oldest first.

    What is started, and what was sent and is unclaimed, takes room; so does each run that is returned.
    """
    places = select(Run.id, Run.host_id, Run.zone, Host.hypervisor_group).join(Host, Host.id == Run.host_id)
    is_queued = Run.status == "queued"
    taken = _places(session, places.where(holds(Run) | (is_queued & Run.sent_at.is_not(None))))
    room = Room(limits, (place for _, place in taken))
    ids: list[int] = []
    for run_id, place in _places(session, places.where(is_queued, Run.sent_at.is_(None)).order_by(Run.id)):
        if len(ids) == most:
            break
        if room.take(place):
            ids.append(run_id)
    return ids


def _places(session: Session, query: Select[int, int, str, str | None]) -> Iterable[tuple[int, Place]]:
    for run_id, host_id, zone, group in session.execute(query).all():
        yield run_id, Place(host_id, zone, group)
