"""Deletes scans that are old and that newer ones have replaced."""

from datetime import timedelta

from sqlalchemy import ColumnElement, CursorResult, and_, delete, func, or_, select, text
from sqlalchemy.orm import Session, aliased

from app.db.models import Scan

_COMPARED = 2  # assessed scans of a host that are kept: the last, and the one that says what that changed


def delete_old_scans(session: Session, keep_days: int, limit: int) -> int:
    """Delete up to `limit` scans, with their findings, that are older than `keep_days`; return how many went.

    Of each host stay, however old they are: its last scan, its last two assessed ones, and the last that collected
    packages, which are what is shown of it, compared with and assessed again.
    """
    old = aliased(Scan, name="old")
    is_old = old.created_at < func.now() - timedelta(days=keep_days)
    chosen = select(old.id).where(is_old, *_is_replaced(old)).order_by(old.created_at).limit(limit)
    deletion = delete(Scan).where(Scan.id.in_(chosen))
    result = session.execute(deletion, execution_options={"synchronize_session": False})
    return result.rowcount if isinstance(result, CursorResult) else 0


def _is_replaced(old: type[Scan]) -> tuple[ColumnElement[bool], ...]:
    newer = aliased(Scan, name="newer")
    same = and_(newer.host_id == old.host_id, newer.id > old.id)
    is_assessed = text("newer.verdict = 'assessed'")  # as its index says it
    assessed_since = select(newer.id).where(same, is_assessed).order_by(newer.id).offset(_COMPARED - 1).limit(1)
    collected_since = select(newer.id).where(same, newer.packages_from_scan_id.is_(None))
    return (
        select(newer.id).where(same).exists(),
        or_(old.verdict != "assessed", assessed_since.exists()),
        or_(old.packages_from_scan_id.is_not(None), collected_since.exists()),
    )
