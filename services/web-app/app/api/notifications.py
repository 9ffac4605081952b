"""`/api/notifications`: the events behind a cursor, for clients that poll."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.auth import User
from app.api.cursors import parse_cursor
from app.api.deps import Db
from app.api.instance import CurrentInstance
from app.api.problems import ProblemError
from app.api.schemas import Notifications
from app.db.events import head
from app.domain.envelope import envelope
from app.realtime.replay import ResyncRequiredError, replay

router = APIRouter(prefix="/api", tags=["notifications"])
Since = Annotated[str | None, Query(max_length=64, description="the cursor to continue from; without it: from now on")]
Until = Annotated[str | None, Query(max_length=64, description="the cursor at which to end; without it: everything")]


@router.get("/notifications", response_model=Notifications)
async def notifications(
    db: Db, user: User, instance: CurrentInstance, since: Since = None, until: Until = None
) -> dict[str, Any]:
    """Return exactly what was missed since a cursor, and the next cursor; 410 when that cannot be told."""
    cursor = parse_cursor(since)
    if cursor is None:
        return {"items": [], "next": str(await db.run_sync(head))}
    try:
        missed = await db.run_sync(replay, user.access, cursor, instance.settings.replay_limit, parse_cursor(until))
    except ResyncRequiredError as error:
        instance.realtime.manager.counters.resyncs[error.reason] += 1
        raise ProblemError(
            410,
            "resync_required",
            "What was missed cannot be told from this cursor. Load everything anew and use the cursor of that.",
            extra={"reason": error.reason},
        ) from error
    return {"items": [envelope(event) for event in missed.events], "next": str(missed.until)}
