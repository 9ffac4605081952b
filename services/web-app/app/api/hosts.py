"""`/api/hosts`: what is scanned."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from app.api.auth import Admin, User
from app.api.deps import Db, Limit, page
from app.api.problems import conflict, invalid, not_found
from app.api.schemas import HostFindings, HostShown, Id, NewHost, Page
from app.db import hosts, scans
from app.db.groups import UnknownGroupError

router = APIRouter(prefix="/api/hosts", tags=["hosts"])
HostId = Annotated[Id, Path()]


@router.get("", response_model=Page[HostShown])
async def list_hosts(db: Db, user: User, after: Id | None = None, limit: Limit = 100) -> dict[str, Any]:
    """List the hosts that one may see."""
    rows = await db.run_sync(hosts.list_hosts, user.access, after, limit + 1)
    return page(rows, limit, hosts.host_json, lambda host: host.id)


@router.post("", status_code=201, response_model=HostShown)
async def create_host(body: NewHost, db: Db, _: Admin) -> dict[str, Any]:
    """Add a host. Its address must be reachable from the scan host of its zone, which deploys the key."""
    try:
        host = await db.run_sync(lambda session: hosts.create_host(session, **body.model_dump()))
    except hosts.HostExistsError as error:
        raise conflict("host_exists", str(error)) from error
    except UnknownGroupError as error:
        raise invalid("groups", str(error)) from error
    await db.commit()
    return hosts.host_json(host)


@router.get("/{host_id}", response_model=HostShown)
async def get_host(host_id: HostId, db: Db, user: User) -> dict[str, Any]:
    """Show a host."""
    host = await db.run_sync(hosts.get_host, user.access, host_id)
    if host is None:
        raise not_found("host")
    return hosts.host_json(host)


@router.get("/{host_id}/findings", response_model=HostFindings)
async def host_findings(host_id: HostId, db: Db, user: User) -> dict[str, Any]:
    """List the findings of the host's latest scan, worst first. Nothing but the verdict says whether it is clean."""
    if await db.run_sync(hosts.get_host, user.access, host_id) is None:
        raise not_found("host")
    scan = await db.run_sync(scans.latest_scan, user.access, host_id)
    if scan is None:
        return {"scan_id": None, "verdict": None, "items": []}
    shown = await db.run_sync(scans.scan_json, scan)
    return {"scan_id": scan.id, "verdict": scan.verdict, "items": shown["findings"]}
