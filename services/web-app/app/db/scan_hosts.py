"""The hosts that scan: how their workers saw them last, and how old their vulnerability databases are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Select, func, select, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from app.db.hosts import visible
from app.db.models import Host, ScanHost
from app.domain.permissions import Access
from app.domain.times import wire_time

SILENT_AFTER = timedelta(minutes=3)
_LISTED = 1000  # of a zone
ExecutorState = Literal["ok", "degraded", "ill", "unreachable"]


@dataclass(frozen=True, slots=True)
class ScanHostSeen:
    """A scan host, and the seconds since its worker told of it, by the database's clock."""

    row: ScanHost
    silent_seconds: float

    @property
    def state(self) -> str:
        """`silent` where its worker has not been heard of for too long, else how its executor was."""
        return "silent" if self.silent_seconds > SILENT_AFTER.total_seconds() else self.row.executor


def note_scan_host(
    session: Session, zone: str, name: str, executor: ExecutorState, digest: str | None, modified_at: datetime | None
) -> None:
    """Write down how a scan host is now."""
    values = {"executor": executor, "database_digest": digest, "database_modified_at": modified_at}
    insertion = insert(ScanHost).values(zone=zone, name=name, **values)
    changes = values | {"seen_at": func.now()}
    session.execute(insertion.on_conflict_do_update(index_elements=[ScanHost.zone, ScanHost.name], set_=changes))


def list_scan_hosts(session: Session, access: Access) -> Sequence[ScanHostSeen]:
    """Return the scan hosts of the zones of which `access` may see a host, by zone and name: 1,000 of a zone."""
    zones = true() if access.host_ids is None else ScanHost.zone.in_(_zones(access))
    place = func.row_number().over(partition_by=ScanHost.zone, order_by=ScanHost.name)
    listed = select(ScanHost, place.label("place")).where(zones).subquery()
    row = aliased(ScanHost, listed)
    silent = func.extract("epoch", func.now() - row.seen_at)
    query = select(row, silent).where(listed.c.place <= _LISTED).order_by(row.zone, row.name)
    return [ScanHostSeen(row, float(seconds)) for row, seconds in session.execute(query)]


def _zones(access: Access) -> Select[str]:
    return select(Host.zone).where(visible(Host.id, access)).distinct()


def scan_host_json(seen: ScanHostSeen) -> dict[str, Any]:
    """Return what HTTP bodies say of a scan host."""
    row = seen.row
    return {
        "name": row.name,
        "zone": row.zone,
        "state": seen.state,
        "seen_at": wire_time(row.seen_at),
        "database": database_json(row.database_digest, row.database_modified_at),
    }


def database_json(digest: str | None, modified_at: datetime | None) -> dict[str, Any] | None:
    """Return what HTTP bodies say of a vulnerability database; None where none is known."""
    return None if digest is None else {"digest": digest, "modified_at": wire_time(modified_at)}
