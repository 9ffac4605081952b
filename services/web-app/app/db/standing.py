"""How hosts stand: their latest run that ended, and what their last assessed scan found."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, select, text, true
from sqlalchemy.orm import Session

from app.db.arrays import one_of
from app.db.models import Host, Run, Scan
from app.domain.severity import Severity
from app.domain.times import wire_time

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
    rows = session.execute(query.where(Host.id == one_of(host_ids, BigInteger)))
    return {host_id: {"latest": _latest(*row[:4]), "assessment": _assessment(*row[4:])} for host_id, *row in rows}


def _latest(run_id: int | None, status: Any, finished_at: Any, result: Any) -> dict[str, Any] | None:  # noqa: ANN401
    if run_id is None:
        return None
    return {
        "run_id": run_id,
        "status": status,
        "finished_at": wire_time(finished_at),
        "verdict": result.get("verdict"),
        "reason": result.get("reason"),
    }


def _assessment(
    scan_id: int | None,
    created_at: Any,  # noqa: ANN401  (a row's columns, none of them there without a scan)
    demo: Any,  # noqa: ANN401
    reboot_required: Any,  # noqa: ANN401
    counts: Any,  # noqa: ANN401
) -> dict[str, Any] | None:
    if scan_id is None:
        return None
    return {
        "scan_id": scan_id,
        "assessed_at": wire_time(created_at),
        "demo": demo,
        "reboot_required": reboot_required,
        "counts": {str(severity): (counts or {}).get(severity, 0) for severity in Severity},
    }
