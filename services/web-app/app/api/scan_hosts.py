"""`/api/scan-hosts`: which hosts scan, and how old their vulnerability databases are."""

from typing import Any

from fastapi import APIRouter

from app.api.auth import User
from app.api.deps import Db
from app.api.schemas import Page, ScanHostShown
from app.db.scan_hosts import list_scan_hosts, scan_host_json

router = APIRouter(prefix="/api/scan-hosts", tags=["hosts"])


@router.get("", response_model=Page[ScanHostShown])
async def get_scan_hosts(db: Db, user: User) -> dict[str, Any]:
    """List the scan hosts of the zones of which one may see a host. There are few: all come at once."""
    rows = await db.run_sync(list_scan_hosts, user.access)
    return {"items": [scan_host_json(row) for row in rows], "next": None}
