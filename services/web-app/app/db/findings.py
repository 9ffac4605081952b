"""What hosts have and had: updated with each assessed scan, in the transaction that stores it."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import ARRAY, BigInteger, Text, column, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.events import record_event
from app.db.models import Event, Finding, HostFinding, Run, Scan
from app.domain.difference import Changed, difference, is_worth_telling, summary
from app.domain.envelope import FINDINGS_CHANGED, event_time
from app.domain.severity import Severity


def lock_findings(session: Session, host_id: int) -> None:
    """Wait until no other transaction is storing a scan of this host, and keep others waiting until this one ends.

    An advisory lock: a worker's role may not lock the host's row, which it cannot change.
    """
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"host_finding {host_id}", 0))))


def note_changes(session: Session, scan: Scan, found: Mapping[str, Severity]) -> list[Changed]:
    """Compare an assessed scan, whose findings are stored and locked, with the one before it; note and return it."""
    before = session.scalar(
        select(Scan.id)
        .where(Scan.host_id == scan.host_id, Scan.verdict == "assessed", Scan.id < scan.id)
        .order_by(Scan.id.desc())
        .limit(1)
    )
    previous = None if before is None else _severities(session, before)
    known = session.scalars(select(HostFinding.cve_id).where(HostFinding.host_id == scan.host_id)).all()
    changes = difference(previous, found, frozenset(known))
    if changes:
        _store(session, scan, changes)
    return changes


def record_changes(session: Session, run: Run, scan: Scan, changes: Collection[Changed]) -> Event | None:
    """Add the event that tells of changes to the caller's transaction; None where there is nothing to tell."""
    if not is_worth_telling(changes):
        return None
    data = {
        "host_id": scan.host_id,
        "host_name": run.host_name,
        "scan_id": scan.id,
        "task_run_id": run.id,
        **summary(changes),
        "timestamp": event_time(scan.created_at),
    }
    return record_event(session, FINDINGS_CHANGED, scan.host_id, data)


def _severities(session: Session, scan_id: int) -> dict[str, Severity]:
    rows = session.execute(select(Finding.cve_id, Finding.severity).where(Finding.scan_id == scan_id))
    return {cve_id: Severity(severity) for cve_id, severity in rows}


def _store(session: Session, scan: Scan, changes: Sequence[Changed]) -> None:
    rows = (
        func.unnest(
            literal([one.cve_id for one in changes], ARRAY(Text)),
            literal([str(one.severity) for one in changes], ARRAY(Text)),
            literal([None if one.before is None else str(one.before) for one in changes], ARRAY(Text)),
            literal([str(one.change) for one in changes], ARRAY(Text)),
        )
        .table_valued(
            column("cve_id", Text), column("severity", Text), column("severity_before", Text), column("change", Text)
        )
        .render_derived(name="changed")
    )
    stored = {"changed_scan_id": literal(scan.id, BigInteger), "changed_at": literal(scan.created_at)}
    each = select(literal(scan.host_id, BigInteger), literal(scan.created_at), *stored.values(), *rows.c)
    insertion = insert(HostFinding).from_select(["host_id", "first_seen_at", *stored, *rows.c.keys()], each)
    told = ("severity", "severity_before", "change", *stored)
    session.execute(
        insertion.on_conflict_do_update(
            index_elements=[HostFinding.host_id, HostFinding.cve_id],
            set_={name: getattr(insertion.excluded, name) for name in told},
        )
    )
