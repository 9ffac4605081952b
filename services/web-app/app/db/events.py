"""The event log: written with what it tells of, numbered as the transaction commits, read in that order."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Text, cast, func, select, text, true, update
from sqlalchemy.orm import Session

from app.db.models import Event, EventEpoch, EventFloor
from app.domain.cursor import Cursor
from app.domain.envelope import UNREADABLE, StoredEvent
from app.domain.event_check import check_event

# One statement, so that the epoch and the rows are of one snapshot; without rows it still gives the epoch. Data comes
# as text: a driver that decodes it would give up the whole answer for one row.
READ = """
    SELECT p.epoch, e.seq, e.type, e.host_id, e.data, e.created_at
      FROM event_epoch p
      LEFT JOIN LATERAL (
          SELECT seq, type, host_id, data::text, created_at FROM event WHERE seq > {after} ORDER BY seq LIMIT {limit}
      ) e ON true
     ORDER BY e.seq
"""
HEAD = "SELECT current_epoch(), greatest((SELECT max(seq) FROM event), (SELECT seq - 1 FROM event_floor))"
_READ, _HEAD = text(READ.format(after=":after", limit=":limit")), text(HEAD)


def record_event(session: Session, type_: str, host_id: int | None, data: dict[str, Any]) -> Event:
    """Add an event to the caller's transaction. It gets its sequence when that commits.

    Raises:
        BadEventError: `data` does not fit the messages of this type.
    """
    check_event(type_, data)
    event = Event(type=type_, host_id=host_id, data=data)
    session.add(event)
    session.flush()
    return event


def read_rows(rows: Sequence[tuple[Any, ...]]) -> tuple[str, list[StoredEvent]]:
    """Return what READ has found: the epoch, and the events.

    A row whose data cannot be decoded stands there as an event of the type UNREADABLE without data: whoever reads
    passes over it, and its cursor counts.

    Raises:
        RuntimeError: not even the epoch is there.
    """
    if not rows:
        raise RuntimeError("the database has no epoch: run `vulsctl db upgrade`")
    events = [
        _decoded(Cursor(epoch, sequence), type_, host_id, data, created_at)
        for epoch, sequence, type_, host_id, data, created_at in rows
        if sequence is not None
    ]
    return rows[0][0], events


def _decoded(cursor: Cursor, type_: str, host_id: int | None, data: str, created_at: datetime) -> StoredEvent:
    try:
        decoded = orjson.loads(data)
    except orjson.JSONDecodeError:  # jsonb holds more than its readers: numbers of any size, levels without end
        decoded = None
    if isinstance(decoded, dict):
        return StoredEvent(cursor, type_, host_id, decoded, created_at)
    return StoredEvent(cursor, UNREADABLE, host_id, {}, created_at)


def load_event(session: Session, event_pk: int) -> StoredEvent:
    """Return a committed event with its cursor.

    Raises:
        sqlalchemy.exc.NoResultFound: it is not committed, or not this role's to see.
    """
    columns = (EventEpoch.epoch, Event.seq, Event.type, Event.host_id, cast(Event.data, Text), Event.created_at)
    query = select(*columns).join_from(Event, EventEpoch, true()).where(Event.id == event_pk, Event.seq.is_not(None))
    row = session.execute(query).one()
    return read_rows([tuple(row)])[1][0]


def read_events(session: Session, after: int, limit: int) -> tuple[str, list[StoredEvent]]:
    """Return the epoch and up to `limit` events after the sequence `after`, in commit order. Gaps are normal."""
    rows: list[tuple[Any, ...]] = [tuple(row) for row in session.execute(_READ, {"after": after, "limit": limit})]
    return read_rows(rows)


def head(session: Session) -> Cursor:
    """Return the cursor of the newest committed event, kept or not (0 before the first), in the epoch of now."""
    epoch, sequence = session.execute(_HEAD).one()
    return Cursor(epoch, sequence)


def oldest_sequence(session: Session) -> int:
    """Return the sequence from which on the log is complete. A cursor below it minus one is too old."""
    return session.execute(select(EventFloor.seq)).scalar_one()


def maintain(session: Session, keep_days: int) -> int | None:
    """Make room for the coming weeks and drop those that ended `keep_days` ago; return how many went.

    None: others hold what that takes a lock of, and it was left for the next time.
    """
    dropped: int | None = session.execute(select(func.event_maintain(keep_days))).scalar_one()
    return dropped


def begin_epoch(session: Session) -> tuple[str, str]:
    """Declare that history is another one from here on; return the epochs before and now.

    Needs the rights of the schema's owner. Every reader notices with its next read.
    """
    before = session.execute(select(EventEpoch.epoch).with_for_update()).scalar_one()
    epoch: str = session.execute(
        update(EventEpoch).values(epoch=func.new_epoch()).returning(EventEpoch.epoch)
    ).scalar_one()
    return before, epoch
