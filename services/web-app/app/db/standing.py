"""How hosts stand: their latest run that ended, and what their last assessed scan found."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

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
    latest run says that it failed.
    """
    run = (
        select(Run.id, Run.status, Run.finished_at, Run.result_data)
        .where(Run.host_id == Host.id, text("run.status IN ('success', 'failed')"))  # as its index says it
        .order_by(Run.finished_at.desc())
        .limit(1)
        .lateral("latest")
    )
    scan = (
        select(Scan.id, Scan.created_at, Scan.demo, Scan.reboot_required, Scan.counts)
        .where(Scan.host_id == Host.id, text("scan.verdict = 'assessed'"))
        .order_by(Scan.id.desc())
        .limit(1)
        .lateral("assessment")
    )
    query = select(Host.id, run, scan).select_from(Host).outerjoin(run, true()).outerjoin(scan, true())
    rows = session.execute(query.where(Host.id == one_of(host_ids, BigInteger))).all()
    uncounted = _counts(session, [scan_id for *_, scan_id, _, _, _, counts in rows if scan_id and counts is None])
    return {
        host_id: {
            "latest": _latest(run_id, status, finished_at, result),
            "assessment": None
            if scan_id is None
            else {
                "scan_id": scan_id,
                "assessed_at": wire_time(created_at),
                "demo": demo,
                "reboot_required": reboot_required,
                "counts": _by_severity(counts or uncounted.get(scan_id)),
            },
        }
        for host_id, run_id, status, finished_at, result, scan_id, created_at, demo, reboot_required, counts in rows
    }


def _latest(
    run_id: int | None, status: str, finished_at: datetime | None, result: Mapping[str, Any]
) -> dict[str, Any] | None:
    if run_id is None or finished_at is None:
        return None
    verdict, reason = result.get("verdict"), result.get("reason")
    return {
        "run_id": run_id,
        "status": status,
        "finished_at": wire_time(finished_at),
        "verdict": verdict if verdict in _VERDICTS else None,
        "reason": reason if isinstance(reason, Mapping) else None,
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
