"""What a run's programs said: numbered lines, the last of them kept."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import CursorResult, delete, func, insert, select, update
from sqlalchemy.orm import Session

from app.db.models import Run, RunLog
from app.db.runs import held
from app.domain.run_log import KEPT

_AT_ONCE = timedelta(hours=6)  # a backlog must not hold up what else is cleaned up


def append_lines(session: Session, run: Run, lines: Sequence[str]) -> bool:
    """Add lines to the log of a claimed run and drop the oldest; False when the run is the claimant's no longer."""
    counted = update(Run).where(*held(run)).values(log_lines=Run.log_lines + len(lines)).returning(Run.log_lines)
    last = session.scalar(counted, execution_options={"synchronize_session": False})
    if last is None:
        return False
    kept = list(enumerate(lines, last - len(lines) + 1))[-KEPT:]
    if kept:
        rows = [{"run_id": run.id, "n": n, "attempt": run.attempt, "text": text} for n, text in kept]
        session.execute(insert(RunLog), rows)
    session.execute(delete(RunLog).where(RunLog.run_id == run.id, RunLog.n <= last - KEPT))
    return True


def last_lines(session: Session, run: Run, limit: int) -> list[str]:
    """Return up to `limit` last lines of the attempt that `run` is at, oldest first."""
    query = select(RunLog.text).where(RunLog.run_id == run.id, RunLog.attempt == run.attempt)
    return list(session.scalars(query.order_by(RunLog.n.desc()).limit(limit)))[::-1]


def read_log(session: Session, run_id: int, since: int, limit: int) -> Sequence[RunLog]:
    """Return up to `limit` lines after line `since` of a run that the caller was let see."""
    query = select(RunLog).where(RunLog.run_id == run_id, RunLog.n > since).order_by(RunLog.n).limit(limit)
    return session.scalars(query).all()


def delete_old_lines(session: Session, keep_days: int) -> int:
    """Delete the lines that are older than `keep_days`, some hours' worth at a time; return how many went."""
    oldest = select(func.min(RunLog.created_at)).scalar_subquery()
    before = func.least(func.now() - timedelta(days=keep_days), oldest + _AT_ONCE)
    old = delete(RunLog).where(RunLog.created_at < before)
    result = session.execute(old, execution_options={"synchronize_session": False})
    return result.rowcount if isinstance(result, CursorResult) else 0
