"""What scans brought back."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import BigInteger, Double, Select, Text, case, column, exists, func, insert, literal, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, aliased, undefer

from app.db.arrays import one_of
from app.db.findings import (
    Place,
    assessed_scan,
    changes_of,
    finding_json,
    lock_findings,
    note_changes,
    record_changes,
    worst_first,
)
from app.db.hosts import visible
from app.db.models import Event, Finding, Host, Run, Scan
from app.db.runs import finish_run
from app.db.scan_hosts import database_json
from app.domain.difference import Change, Changed, summary
from app.domain.envelope import event_time
from app.domain.permissions import Access
from app.domain.times import wire_time
from app.domain.verdict import Verdict, failed
from app.domain.vuls_result import FoundCve, package_json, without_config

EMBEDDED = 100  # findings that a scan is shown with; the rest comes in pages
ScanFindingState = Literal["found", "fixed"]
_NOTHING = literal({}, JSONB)
_NEWER_SCAN = (
    "A newer scan of {host} was stored while the packages of an earlier one were assessed again, and it counts. Nothing"
    " is to be done."
)


@dataclass(frozen=True, slots=True)
class Packages:
    """What a scan collected, to be assessed anew."""

    scan_id: int
    collected_at: datetime
    document: dict[str, Any]


def collected_packages(session: Session, host_id: int) -> Packages | None:
    """Return what the host's last usable scan collected; None where it has none."""
    scan = session.scalar(_collected(host_id).options(undefer(Scan.result)))
    return None if scan is None else Packages(scan.id, scan.created_at, scan.result)


def hosts_with_packages(session: Session, host_ids: Collection[int]) -> set[int]:
    """Return the ids of those hosts of which a usable scan collected packages."""
    own = exists().where(Scan.host_id == Host.id, Scan.packages_from_scan_id.is_(None))
    return set(session.scalars(select(Host.id).where(Host.id == one_of(host_ids, BigInteger), own)))


def _collected(host_id: int) -> Select[Scan]:
    own = select(Scan).where(Scan.host_id == host_id, Scan.packages_from_scan_id.is_(None))
    return own.order_by(Scan.id.desc()).limit(1)


def store_scan(
    session: Session, run: Run, verdict: Verdict, document: Mapping[str, Any], packages: Packages | None = None
) -> tuple[Scan, list[Changed]]:
    """Add a usable scan and its findings to the caller's transaction; return it and what it changed on the host.

    Until the transaction ends no other scan of the host is stored: each is compared with the one before it.
    `packages` are those of an earlier scan that were assessed anew.
    """
    result = verdict.result
    if result is None:
        raise ValueError("a failed scan has nothing to store")
    lock_findings(session, run.host_id)
    scan = Scan(
        run_id=run.id,
        host_id=run.host_id,
        attempt=run.attempt,
        family=result.family,
        release=result.release,
        verdict=verdict.verdict,
        reason=None if verdict.reason is None else verdict.reason.as_json(),
        counts=None if verdict.counts is None else {str(severity): count for severity, count in verdict.counts.items()},
        demo=verdict.demo,
        kernel=result.kernel,
        reboot_required=result.reboot_required,
        package_count=result.package_count,
        database_digest=None if verdict.database is None else verdict.database.digest,
        database_modified_at=None if verdict.database is None else verdict.database.modified_at,
        packages_from_scan_id=None if packages is None else packages.scan_id,
        collected_at=None if packages is None else packages.collected_at,
        result=without_config(document),
    )
    session.add(scan)
    session.flush()
    changes: list[Changed] = []
    if verdict.counts is not None:
        _store_findings(session, scan, result.findings)
        changes = note_changes(session, scan, {found.cve_id: found.severity for found in result.findings})
    return scan, changes


def end_run(
    session: Session,
    run: Run,
    verdict: Verdict,
    document: Mapping[str, Any] | None,
    phase_seconds: dict[str, float] | None = None,
    packages: Packages | None = None,
    *,
    goes_on: bool = False,
) -> list[Event]:
    """End a claimed run with what it brought back; return the events of that.

    Empty when it is the claimant's no longer: the caller then rolls back what was stored for it. Later scans of the
    host are compared with the `phase_seconds` of one that succeeded. `packages` are those of an earlier scan that were
    assessed anew; where a newer scan has been stored meanwhile they count no more. The host stays held for a while
    where the scan `goes_on`.
    """
    scan, changes = None, list[Changed]()
    if packages is not None:
        lock_findings(session, run.host_id)
        newest = session.scalar(_collected(run.host_id))
        if newest is not None and newest.id != packages.scan_id:
            verdict = failed("newer_scan", _NEWER_SCAN.format(host=run.host.name))
    if verdict.result is not None and document is not None:
        scan, changes = store_scan(session, run, verdict, document, packages)
    comparable = phase_seconds or None if verdict.status == "success" else None
    result_data = verdict.result_data(None if scan is None else scan.id)
    if run.kind != "scan":
        result_data["kind"] = run.kind
    if packages is not None:
        result_data["collected_at"] = event_time(packages.collected_at)
    ended = finish_run(session, run, verdict.status, result_data, comparable, goes_on=goes_on)
    if ended is None:
        return []
    changed = None if scan is None else record_changes(session, run, scan, changes)
    return [ended] if changed is None else [ended, changed]


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
    session.execute(
        insert(Finding).from_select(
            columns, select(literal(scan.id, BigInteger), literal(scan.host_id, BigInteger), each)
        )
    )


def get_scan(session: Session, access: Access, scan_id: int) -> Scan | None:
    """Return a scan; None where there is none that `access` may see."""
    return session.scalar(select(Scan).where(Scan.id == scan_id, visible(Scan.host_id, access)))


def findings_of(
    session: Session, scan: Scan, state: ScanFindingState, after: Place | None, limit: int
) -> Sequence[Finding]:
    """Return up to `limit` findings behind `after` of a scan that the caller was let see, worst first.

    `found` are those that it has; `fixed` those that the assessed scan before it had, and it has not.
    """
    if state == "found":
        return session.scalars(worst_first(select(Finding).where(Finding.scan_id == scan.id), after, limit)).all()
    before = assessed_scan(session, scan.host_id, before=scan.id) if scan.verdict == "assessed" else None
    if before is None:
        return []
    now = aliased(Finding)
    still = exists().where(now.scan_id == scan.id, now.cve_id == Finding.cve_id)
    return session.scalars(worst_first(select(Finding).where(Finding.scan_id == before.id, ~still), after, limit)).all()


def scan_findings_json(session: Session, scan: Scan, shown: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return what HTTP bodies say of findings of a scan, each with what the scan changed of it."""
    compared = changes_of(session, scan)
    changes = {} if compared is None else {one.cve_id: one for one in compared[1]}
    return [_finding_of_scan(one, changes.get(one.cve_id)) for one in shown]


def packages_of(session: Session, scan_id: int, after: int, limit: int) -> list[dict[str, Any]]:
    """Return up to `limit` packages of a scan behind the first `after`, by name."""
    packages = case((func.jsonb_typeof(Scan.result["packages"]) == "object", Scan.result["packages"]), else_=_NOTHING)
    each = func.jsonb_each(packages).table_valued(column("key", Text), column("value", JSONB)).render_derived("package")
    query = select(each.c.key, each.c.value).select_from(Scan).join(each, true()).where(Scan.id == scan_id)
    rows = session.execute(query.order_by(each.c.key.collate("C")).offset(after).limit(limit))
    return [package_json(name, entry) for name, entry in rows]


def scan_json(session: Session, scan: Scan) -> dict[str, Any]:
    """Return what HTTP bodies say of a scan, with the worst of its findings and of what it changed."""
    compared = changes_of(session, scan)
    changes = {} if compared is None else {one.cve_id: one for one in compared[1]}
    found = findings_of(session, scan, "found", None, EMBEDDED + 1)
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
        "database": database_json(scan.database_digest, scan.database_modified_at),
        "packages_from_scan_id": scan.packages_from_scan_id,
        "collected_at": wire_time(scan.collected_at or scan.created_at),
        "findings": [_finding_of_scan(one, changes.get(one.cve_id)) for one in found[:EMBEDDED]],
        "findings_next": _next(scan, found),
        "changes": None if compared is None else _changes_json(session, scan, *compared),
    }


def _finding_of_scan(finding: Finding, changed: Changed | None) -> dict[str, Any]:
    before = None if changed is None else changed.before
    return finding_json(finding) | {
        "change": None if changed is None else str(changed.change),
        "severity_before": None if before is None else str(before),
    }


def _changes_json(session: Session, scan: Scan, before: Scan, changes: Sequence[Changed]) -> dict[str, Any]:
    any_fixed = any(one.change is Change.FIXED for one in changes)
    fixed = findings_of(session, scan, "fixed", None, EMBEDDED + 1) if any_fixed else []
    return {
        "since_scan_id": before.id,
        "since": wire_time(before.created_at),
        "fixed_findings": [finding_json(one) for one in fixed[:EMBEDDED]],
        "fixed_next": _next(scan, fixed),
    } | summary(changes)


def _next(scan: Scan, found: Sequence[Finding]) -> str | None:
    return str(Place.of(scan, found[EMBEDDED - 1])) if len(found) > EMBEDDED else None
