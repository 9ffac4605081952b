"""The event log: written with what it tells of, numbered as the transaction commits, read in that order."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, func, select, text, true
from sqlalchemy.orm import Session

from app.db.models import Event, EventEpoch, EventFloor
from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent

# One statement, so that the epoch and the rows are of one snapshot; without rows it still gives the epoch.
_READ = text(
    """
    SELECT p.epoch, e.seq, e.type, e.host_id, e.data, e.created_at
      FROM event_epoch p
      LEFT JOIN LATERAL (
          SELECT seq, type, host_id, data, created_at FROM event WHERE seq > :after ORDER BY seq LIMIT :limit
      ) e ON true
     ORDER BY e.seq
    """
)


def record_event(session: Session, type_: str, host_id: int | None, data: dict[str, Any]) -> Event:
    """Add an event to the caller's transaction. It gets its sequence when that commits."""
    event = Event(type=type_, host_id=host_id, data=data)
    session.add(event)
    session.flush()
    return event


def _stored(row: Row[Any]) -> StoredEvent:
    return StoredEvent(Cursor(row.epoch, row.seq), row.type, row.host_id, row.data, row.created_at)


def load_event(session: Session, event_pk: int) -> StoredEvent:
    """Return a committed event with its cursor.

    Raises:
        sqlalchemy.exc.NoResultFound: it is not committed, or not this role's to see.
    """
    columns = (EventEpoch.epoch, Event.seq, Event.type, Event.host_id, Event.data, Event.created_at)
    query = select(*columns).join_from(Event, EventEpoch, true()).where(Event.id == event_pk, Event.seq.is_not(None))
    return _stored(session.execute(query).one())


def read_events(session: Session, after: int, limit: int) -> tuple[str, list[StoredEvent]]:
    """Return the epoch and up to `limit` events after the sequence `after`, in commit order. Gaps are normal."""
    rows: Sequence[Row[Any]] = session.execute(_READ, {"after": after, "limit": limit}).all()
    if not rows:
        raise RuntimeError("the database has no epoch: run `vulsctl db upgrade`")
    return rows[0].epoch, [_stored(row) for row in rows if row.seq is not None]


def head(session: Session) -> Cursor:
    """Return the cursor of the newest committed event, kept or not (0 before the first), in the epoch of now."""
    forgotten = select(EventFloor.seq - 1).scalar_subquery()
    newest = select(func.max(Event.seq)).scalar_subquery()
    row = session.execute(select(func.current_epoch(), func.greatest(newest, forgotten))).one()
    return Cursor(row[0], row[1])


def oldest_sequence(session: Session) -> int:
    """Return the sequence from which on the log is complete. A cursor below it minus one is too old."""
    return session.execute(select(EventFloor.seq)).scalar_one()


def maintain(session: Session, keep_days: int) -> int:
    """Make room for the coming weeks and drop those that ended `keep_days` ago; return how many went."""
    dropped: int = session.execute(select(func.event_maintain(keep_days))).scalar_one()
    return dropped
