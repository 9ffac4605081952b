"""What scans brought back."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.hosts import visible
from app.db.models import Finding, Run, Scan
from app.domain.permissions import Access
from app.domain.verdict import Verdict
from app.domain.vuls_result import without_config


def store_scan(session: Session, run: Run, verdict: Verdict, document: Mapping[str, Any]) -> Scan:
    """Add a usable scan and its findings to the caller's transaction."""
    result = verdict.result
    if result is None:
        raise ValueError("a failed scan has nothing to store")
    scan = Scan(
        run_id=run.id,
        host_id=run.host_id,
        attempt=run.attempt,
        family=result.family,
        release=result.release,
        verdict=verdict.verdict,
        reason=None if verdict.reason is None else verdict.reason.as_json(),
        demo=verdict.demo,
        package_count=result.package_count,
        result=without_config(document),
    )
    session.add(scan)
    session.flush()
    if verdict.counts is not None:
        session.add_all(
            Finding(
                scan_id=scan.id,
                cve_id=found.cve_id,
                host_id=run.host_id,
                severity=str(found.severity),
                score=found.score,
                title=found.title,
                packages=found.packages,
            )
            for found in result.findings
        )
        session.flush()
    return scan


def get_scan(session: Session, access: Access, scan_id: int) -> Scan | None:
    """Return a scan; None where there is none that `access` may see."""
    return session.scalar(select(Scan).where(Scan.id == scan_id, visible(Scan.host_id, access)))


def findings_of(session: Session, scan_id: int) -> Sequence[Finding]:
    """Return the findings of a scan that the caller was let see, by CVE."""
    return session.scalars(select(Finding).where(Finding.scan_id == scan_id).order_by(Finding.cve_id)).all()
