"""How hosts stand: their latest run that ended, and what their last assessed scan found."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, func, select, text, true
from sqlalchemy.orm import Session

from app.db.arrays import one_of
from app.db.models import Finding, Host, Run, Scan
from app.domain.severity import Severity
from app.domain.times import wire_time

_VERDICTS = ("assessed", "not_assessed", "failed")
NEVER_SCANNED: dict[str, Any] = {"latest": None, "assessment": None}


def standings(session: Session, host_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return what HTTP bodies say of how each of these hosts stands.

    The two parts may be of different scans: a host that cannot be reached any more keeps what was found last, and its
    latest run says that it failed. Connection tests say nothing here. Packages that were assessed anew only say more
    than the latest scan where that one brought packages: no new database makes a host reachable.
    """
    run = (
        select(Run.id, Run.status, Run.finished_at, Run.result_data)
        # The first two conditions as their index says them.
        .where(Run.host_id == Host.id, text("run.status IN ('success', 'failed')"), Run.kind == "scan")
        .order_by(Run.finished_at.desc())
        .limit(1)
        .lateral("latest")
    )
    again = (
        select(Run.id, Run.status, Run.finished_at, Run.result_data)
        .where(Run.host_id == Host.id, text("run.kind = 'reassess' AND run.status = 'success'"))  # the same
        .order_by(Run.finished_at.desc())
        .limit(1)
        .lateral("again")
    )
    scan = (
        select(
            Scan.id,
            Scan.created_at,
            func.coalesce(Scan.collected_at, Scan.created_at).label("collected_at"),
            Scan.demo,
            Scan.reboot_required,
            Scan.counts,
        )
        .where(Scan.host_id == Host.id, text("scan.verdict = 'assessed'"))
        .order_by(Scan.id.desc())
        .limit(1)
        .lateral("assessment")
    )
    tables = select(Host.id, run, again, scan).select_from(Host)
    query = tables.outerjoin(run, true()).outerjoin(again, true()).outerjoin(scan, true())
    rows = session.execute(query.where(Host.id == one_of(host_ids, BigInteger))).all()
    uncounted = _counts(session, [row[9] for row in rows if row[9] is not None and row[14] is None])
    return {
        host_id: {
            "latest": _later(_Ended(*first), _Ended(*second)),
            "assessment": None if assessment[0] is None else _assessment(*assessment, uncounted=uncounted),
        }
        for host_id, first, second, assessment in ((row[0], row[1:5], row[5:9], row[9:15]) for row in rows)
    }


class _Ended(NamedTuple):
    """A run that has ended, or nothing but None."""

    run_id: int | None
    status: str | None
    finished_at: datetime | None
    result: Mapping[str, Any] | None


def _later(scan: _Ended, again: _Ended) -> dict[str, Any] | None:
    """Return the latest scan, or the later re-assessment where the scan brought packages."""
    if scan.finished_at is None:
        return _latest(again)
    counts = scan.status == "success" and again.finished_at is not None and again.finished_at > scan.finished_at
    return _latest(again if counts else scan)


def _latest(ended: _Ended) -> dict[str, Any] | None:
    if ended.run_id is None or ended.finished_at is None:
        return None
    result = ended.result or {}
    verdict, reason = result.get("verdict"), result.get("reason")
    return {
        "run_id": ended.run_id,
        "status": ended.status,
        "finished_at": wire_time(ended.finished_at),
        "verdict": verdict if verdict in _VERDICTS else None,
        "reason": reason if isinstance(reason, Mapping) else None,
    }


def _assessment(
    scan_id: int,
    assessed_at: datetime,
    collected_at: datetime,
    demo: bool,
    reboot_required: bool,
    counts: object,
    *,
    uncounted: Mapping[int, object],
) -> dict[str, Any]:
    return {
        "scan_id": scan_id,
        "assessed_at": wire_time(assessed_at),
        "collected_at": wire_time(collected_at),
        "demo": demo,
        "reboot_required": reboot_required,
        "counts": _by_severity(counts or uncounted.get(scan_id)),
    }


# What our own code stores has this form; a worker's database role can store what it likes, and must not stop the list.
def _by_severity(counts: object) -> dict[str, int]:
    known = counts if isinstance(counts, Mapping) else {}
    numbers = {str(severity): known.get(severity) for severity in Severity}
    return {name: number if type(number) is int and number >= 0 else 0 for name, number in numbers.items()}


def _counts(session: Session, scan_ids: Collection[int]) -> dict[int, dict[str, int]]:
    """Count what a worker of the release before has stored without counts, while a rollout went on."""
    if not scan_ids:
        return {}
    query = select(Finding.scan_id, Finding.severity, func.count()).group_by(Finding.scan_id, Finding.severity)
    counted: dict[int, dict[str, int]] = defaultdict(dict)
    for scan_id, severity, number in session.execute(query.where(Finding.scan_id == one_of(scan_ids, BigInteger))):
        counted[scan_id][severity] = number
    return counted
