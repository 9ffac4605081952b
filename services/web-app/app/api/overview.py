"""`/api/overview`: everything the page shows, true at one cursor."""

from typing import Any

from fastapi import APIRouter

from app.api.auth import User
from app.api.deps import Db
from app.api.schemas import Overview
from app.db.overview import overview

router = APIRouter(prefix="/api", tags=["overview"])


@router.get("/overview", response_model=Overview)
async def get_overview(db: Db, user: User) -> dict[str, Any]:
    """Return tasks, hosts, running and recent runs. Sockets and polling continue from `cursor`."""
    return await db.run_sync(overview, user.access)
