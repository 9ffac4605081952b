"""What scans brought back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Double, Text, case, column, func, insert, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from app.db.hosts import visible
from app.db.models import Finding, Host, Run, Scan
from app.domain.permissions import Access
from app.domain.severity import Severity
from app.domain.times import wire_time
from app.domain.verdict import Verdict
from app.domain.vuls_result import FoundCve, without_config


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
        kernel=result.kernel,
        reboot_required=result.reboot_required,
        package_count=result.package_count,
        result=without_config(document),
    )
    session.add(scan)
    session.flush()
    if verdict.counts is not None:
        _store_findings(session, scan, result.findings)
    return scan


def _store_findings(session: Session, scan: Scan, found: Sequence[FoundCve]) -> None:
    """Add findings in one statement with one parameter: row by row takes eight times as long.

    COPY is not for tables with policies for rows, and arrays of JSON have to be quoted twice.
    """
    rows = [asdict(one) for one in found]
    each = (
        func.jsonb_to_recordset(literal(rows, JSONB))
        .table_valued(
            column("cve_id", Text),
            column("severity", Text),
            column("score", Double),
            column("title", Text),
            column("packages", JSONB),
            column("links", JSONB),
        )
        .render_derived(name="found", with_types=True)
    )
    columns = ["scan_id", "host_id", *each.c.keys()]
    session.execute(insert(Finding).from_select(columns, select(literal(scan.id), literal(scan.host_id), each)))


def get_scan(session: Session, access: Access, scan_id: int) -> Scan | None:
    """Return a scan; None where there is none that `access` may see."""
    return session.scalar(select(Scan).where(Scan.id == scan_id, visible(Scan.host_id, access)))


def latest_scan(session: Session, access: Access, host_id: int) -> Scan | None:
    """Return a host's newest scan; None where there is none, or `access` may not see the host."""
    query = select(Scan).where(Scan.host_id == host_id, visible(Scan.host_id, access))
    return session.scalar(query.order_by(Scan.id.desc()).limit(1))


def findings_of(session: Session, scan_id: int) -> Sequence[Finding]:
    """Return the findings of a scan that the caller was let see: worst first, then by score and CVE."""
    worst_first = case({str(severity): rank for rank, severity in enumerate(Severity)}, value=Finding.severity)
    query = select(Finding).where(Finding.scan_id == scan_id)
    return session.scalars(query.order_by(worst_first, Finding.score.desc().nulls_last(), Finding.cve_id)).all()


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return what HTTP bodies say of a finding."""
    return {
        "cve_id": finding.cve_id,
        "severity": finding.severity,
        "score": finding.score,
        "title": finding.title,
        "packages": finding.packages,
        "links": finding.links,
    }


def scan_json(session: Session, scan: Scan) -> dict[str, Any]:
    """Return what HTTP bodies say of a scan, with its findings."""
    return {
        "id": scan.id,
        "run_id": scan.run_id,
        "host_id": scan.host_id,
        "host_name": session.get_one(Host, scan.host_id).name,
        "created_at": wire_time(scan.created_at),
        "family": scan.family,
        "release": scan.release,
        "verdict": scan.verdict,
        "reason": scan.reason,
        "demo": scan.demo,
        "kernel": scan.kernel,
        "reboot_required": scan.reboot_required,
        "package_count": scan.package_count,
        "findings": [finding_json(finding) for finding in findings_of(session, scan.id)],
    }
