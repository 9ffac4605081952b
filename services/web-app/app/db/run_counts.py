"""How many runs there are, for metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.models import Run
from app.domain.status import FINISHED_STATUSES, OPEN_STATUSES

_LATELY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class OpenRuns:
    """The queued or the started runs of a zone, and the seconds since the oldest was asked for, or begun."""

    zone: str
    status: str
    count: int
    oldest_seconds: float


def count_open_runs(session: Session) -> Sequence[OpenRuns]:
    """Return the counts by zone and status; of what there is none of there is no row."""
    since = func.min(func.coalesce(Run.started_at, Run.created_at))
    age = func.extract("epoch", func.clock_timestamp() - since)
    query = select(Run.zone, Run.status, func.count(), age).where(Run.status.in_(OPEN_STATUSES))
    rows = session.execute(query.group_by(Run.zone, Run.status).order_by(Run.zone, Run.status))
    return [OpenRuns(zone, status, count, float(seconds)) for zone, status, count, seconds in rows]


def count_ended_runs(session: Session) -> dict[str, int]:
    """Return how many runs ended in each of the ways in the last hour."""
    query = select(Run.status, func.count()).where(
        Run.finished_at > func.now() - _LATELY, Run.status.in_(FINISHED_STATUSES)
    )
    counted = session.execute(query.group_by(Run.status)).tuples().all()
    return dict.fromkeys(sorted(FINISHED_STATUSES), 0) | dict(counted)
