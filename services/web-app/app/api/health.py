"""`/health`: the process lives. `/readyz`: it may get traffic."""

from fastapi import APIRouter
from pydantic import BaseModel

from app.api.instance import CurrentInstance
from app.api.problems import ProblemError

router = APIRouter(tags=["health"])

_REASONS = {
    "draining": "This instance takes no new clients: it is about to stop.",
    "database_unavailable": "The database does not answer.",
    "event_log_unread": "The event log has not been read yet.",
}


class Health(BaseModel):
    """The process answers."""

    status: str


class Ready(BaseModel):
    """The instance may get traffic. `redis` is `degraded` while events come from the log alone."""

    status: str
    release: str
    instance: str
    database: str
    redis: str


@router.get("/health")
async def health() -> Health:
    """Say that the process is alive, whatever its surroundings do."""
    return Health(status="ok")


@router.get("/readyz")
async def readyz(instance: CurrentInstance) -> Ready:
    """Say whether this instance may get traffic, with its release; 503 with the reason when not."""
    state = await instance.readiness.state()
    parts = {
        "release": instance.settings.release_id,
        "instance": instance.settings.instance,
        "database": state.database,
        "redis": state.redis,
    }
    if state.reason:
        raise ProblemError(503, state.reason, _REASONS[state.reason], extra=parts)
    return Ready(status="ready", **parts)
