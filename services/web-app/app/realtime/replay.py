"""Replay: what a client missed since its cursor."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.db.events import head, oldest_sequence, read_events
from app.domain.cursor import Cursor
from app.domain.digest import latest_progress
from app.domain.envelope import UNREADABLE, StoredEvent
from app.domain.permissions import Access
from app.realtime.sound import sound


class ResyncRequiredError(Exception):
    """The cursor cannot be continued from; `reason` is one of the protocol's words for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Replay:
    """The missed events that the user may see, and the cursor up to which they are complete.

    Exactly those, but for progress that a later event of its run makes pointless.
    """

    events: list[StoredEvent]
    until: Cursor


def replay(
    session: Session,
    access: Access,
    since: Cursor,
    limit: int,
    until: Cursor | None = None,
    known: Cursor | None = None,
) -> Replay:
    """Read everything that was committed behind `since`, or up to `until` where that is given.

    What lies between `since` and `known` is left out: the caller has it. The log must reach back to `since` all the
    same, since what was deleted there is not told from memory either.

    Raises:
        ResyncRequiredError: the cursor is of another epoch, too old, not of this log, or more than `limit` rows behind.
            Never a part of what was missed.
    """
    now = head(session)
    if since.epoch != now.epoch or (until is not None and until.epoch != now.epoch):
        raise ResyncRequiredError("other_epoch")
    if since.sequence > now.sequence:
        raise ResyncRequiredError("unknown_cursor")
    epoch, rows = read_events(session, (known or since).sequence, limit + 1)
    if epoch != now.epoch:
        raise ResyncRequiredError("other_epoch")
    if since.sequence < oldest_sequence(session) - 1:  # asked after the rows: none of them can be missing then
        raise ResyncRequiredError("too_old")
    missed = [event for event in rows if until is None or event.cursor.sequence <= until.sequence]
    if len(missed) > limit:
        raise ResyncRequiredError("too_many")
    return Replay(
        events=latest_progress([event for event in sound(missed) if _may_get(access, event)]),
        until=missed[-1].cursor if missed else known or since,
    )


def _may_get(access: Access, event: StoredEvent) -> bool:
    return event.type != UNREADABLE and access.may_see(event.host_id)
