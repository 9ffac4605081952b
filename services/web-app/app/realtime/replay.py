"""Replay: what a client missed between its cursor and the moment it joined the live feed."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.db.events import head, oldest_sequence, read_events
from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent
from app.domain.permissions import Access


class ResyncRequiredError(Exception):
    """The cursor cannot be continued from; `reason` is one of the protocol's words for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Replay:
    """Exactly the missed events that the user may see, and the cursor up to which they are complete."""

    events: list[StoredEvent]
    until: Cursor


def replay(session: Session, access: Access, since: Cursor, until: Cursor | None, limit: int) -> Replay:
    """Read what lies behind `since`, up to `until` where that is given (the live feed's place).

    A cursor ahead of `until` is fine while the log has it: another instance was faster, and nothing was missed.

    Raises:
        ResyncRequiredError: the cursor is of another epoch, too old, not of this log, or more than `limit` rows behind.
            Never a part of what was missed.
    """
    now = head(session)
    if since.epoch != now.epoch:
        raise ResyncRequiredError("other_epoch")
    if since.sequence > now.sequence:
        raise ResyncRequiredError("unknown_cursor")
    if since.sequence < oldest_sequence(session) - 1:
        raise ResyncRequiredError("too_old")
    epoch, rows = read_events(session, since.sequence, limit + 1)
    if epoch != now.epoch:
        raise ResyncRequiredError("other_epoch")
    last = now.sequence if until is None else until.sequence
    missed = [event for event in rows if event.cursor.sequence <= last]
    if len(missed) > limit:
        raise ResyncRequiredError("too_many")
    return Replay(
        events=[event for event in missed if access.may_see(event.host_id)],
        until=Cursor(epoch, max(last, since.sequence)),
    )
