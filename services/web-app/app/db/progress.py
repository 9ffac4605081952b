"""How far started runs are, and how long earlier ones took."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db.events import record_event
from app.db.models import Event, Run
from app.db.runs import held
from app.domain.envelope import TASK_PROGRESS, task_progress_data
from app.domain.progress import mean_seconds

_EARLIER = 5  # scans that an estimate goes by


def note_progress(session: Session, run: Run, phase: str, percent: int | None) -> Event | None:
    """Write down how far a claimed run is, and tell of it. None when the run is the claimant's no longer."""
    noted = update(Run).where(*held(run)).values(phase=phase, percent=percent).returning(func.clock_timestamp())
    at = session.scalar(noted)
    if at is None:
        return None
    data = task_progress_data(run.task_id, run.id, run.task_name, phase, percent, at)
    return record_event(
        session, TASK_PROGRESS, run.host_id, data | {"host_id": run.host_id, "host_name": run.host.name}
    )


def earlier_seconds(session: Session, run: Run) -> dict[str, float]:
    """Return how long the phases took in the last good runs like this one on its host; empty without any."""
    query = (
        select(Run.phase_seconds)
        .where(
            Run.host_id == run.host_id,
            Run.phase_seconds.is_not(None),
            Run.scan_type == run.scan_type,
            Run.kind == run.kind,
        )
        .order_by(Run.finished_at.desc())
        .limit(_EARLIER)
    )
    return mean_seconds([seconds for seconds in session.scalars(query) if seconds])
