"""What hosts have and had: updated with each assessed scan, in the transaction that stores it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeVar

from sqlalchemy import ARRAY, BigInteger, Select, Text, and_, case, column, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.events import record_event
from app.db.models import Event, Finding, HostFinding, Run, Scan
from app.domain.difference import Changed, difference, is_worth_telling, summary
from app.domain.envelope import FINDINGS_CHANGED, event_time
from app.domain.severity import Severity
from app.domain.times import wire_time

FindingState = Literal["open", "new", "reappeared", "severity_changed", "fixed"]
AnySelect = TypeVar("AnySelect", bound=Select[*tuple[Any, ...]])
_RANKS = {str(severity): rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a finding stands in a list that begins with the worst; `scan_id` is the scan whose list it is."""

    scan_id: int
    rank: int
    score: float
    cve_id: str

    PATTERN: ClassVar[str] = r"^\d{1,18}_[0-4]_\d{1,2}\.\d{1,17}_[A-Za-z0-9._:/+-]{1,64}$"

    @classmethod
    def of(cls, scan: Scan, finding: Finding) -> Self:
        """Return the place of a finding in the list for a scan."""
        return cls(scan.id, _RANKS[finding.severity], finding.score or 0.0, finding.cve_id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` gives, and matches PATTERN."""
        scan_id, rank, score, cve_id = text.split("_", 3)
        return cls(int(scan_id), int(rank), float(score), cve_id)

    def __str__(self) -> str:
        return f"{self.scan_id}_{self.rank}_{self.score}_{self.cve_id}"


def list_findings(
    session: Session, scan: Scan, state: FindingState, after: Place | None, limit: int
) -> Sequence[tuple[Finding, HostFinding | None]]:
    """Return up to `limit` findings behind `after`, worst first, each with its last change.

    `scan` is the last assessed one of a host that the caller was let see. `open` are all that it found; the other
    states are what it changed.
    """
    of: Scan | None = assessed_scan(session, scan.host_id, before=scan.id) if state == "fixed" else scan
    if of is None:
        return []
    same = and_(HostFinding.host_id == Finding.host_id, HostFinding.cve_id == Finding.cve_id)
    query = select(Finding, HostFinding).outerjoin(HostFinding, same).where(Finding.scan_id == of.id)
    if state != "open":
        query = query.where(HostFinding.change == state, HostFinding.changed_scan_id == scan.id)
    return [(finding, last) for finding, last in session.execute(worst_first(query, after, limit))]


def worst_first(query: AnySelect, after: Place | None, limit: int) -> AnySelect:
    """Return `query` for up to `limit` findings behind `after`: worst first, then by score and CVE."""
    order = (case(_RANKS, value=Finding.severity), -func.coalesce(Finding.score, 0.0), Finding.cve_id)
    if after is not None:
        query = query.where(tuple_(*order) > tuple_(after.rank, -after.score, after.cve_id))
    return query.order_by(*order).limit(limit)


def host_finding_json(finding: Finding, last: HostFinding | None) -> dict[str, Any]:
    """Return what HTTP bodies say of a host's finding."""
    return finding_json(finding) | {
        "change": None if last is None else last.change,
        "changed_at": None if last is None else wire_time(last.changed_at),
        "severity_before": None if last is None else last.severity_before,
        "first_seen_at": None if last is None else wire_time(last.first_seen_at),
    }


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


def lock_findings(session: Session, host_id: int) -> None:
    """Wait until no other transaction is storing a scan of this host, and keep others waiting until this one ends.

    An advisory lock: a worker's role may not lock the host's row, which it cannot change.
    """
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"host_finding {host_id}", 0))))


def assessed_scan(session: Session, host_id: int, before: int | None = None) -> Scan | None:
    """Return the last assessed scan of a host, or the last before the scan `before`."""
    query = select(Scan).where(Scan.host_id == host_id, text("scan.verdict = 'assessed'"))  # as its index says it
    if before is not None:
        query = query.where(Scan.id < before)
    return session.scalar(query.order_by(Scan.id.desc()).limit(1))


def note_changes(session: Session, scan: Scan, found: Mapping[str, Severity]) -> list[Changed]:
    """Compare an assessed scan, whose findings are stored and locked, with the one before it; note and return it."""
    before = assessed_scan(session, scan.host_id, before=scan.id)
    previous = None if before is None else _severities(session, before.id)
    known = session.scalars(select(HostFinding.cve_id).where(HostFinding.host_id == scan.host_id)).all()
    changes = difference(previous, found, frozenset(known))
    if changes:
        _store(session, scan, changes)
    return changes


def changes_of(session: Session, scan: Scan) -> tuple[Scan, list[Changed]] | None:
    """Return the assessed scan before this one and what this one changed, whatever later ones did.

    None where there is nothing to compare: it is not assessed, or the first.
    """
    before = assessed_scan(session, scan.host_id, before=scan.id) if scan.verdict == "assessed" else None
    if before is None:
        return None
    known = session.scalars(
        select(HostFinding.cve_id).where(
            HostFinding.host_id == scan.host_id, HostFinding.first_seen_at < scan.created_at
        )
    )
    return before, difference(_severities(session, before.id), _severities(session, scan.id), frozenset(known))


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
