"""`/api/hosts`: what is scanned."""

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Path, Query

from app.api.announce import announce
from app.api.auth import Admin, SignedIn, User
from app.api.deps import Db, Limit, page
from app.api.instance import CurrentInstance
from app.api.problems import conflict, forbidden, invalid, not_found
from app.api.schemas import HostFindings, HostShown, Id, NewHost, Page, RunShown
from app.db import findings, hosts, runs
from app.db.findings import FindingState, Place
from app.db.groups import UnknownGroupError
from app.db.standing import NEVER_SCANNED, standings
from app.domain.status import HostRunKind

router = APIRouter(prefix="/api/hosts", tags=["hosts"])
HostId = Annotated[Id, Path()]
After = Annotated[str | None, Query(pattern=Place.PATTERN, description="the `next` of the part before")]


@router.get("", response_model=Page[HostShown])
async def list_hosts(db: Db, user: User, after: Id | None = None, limit: Limit = 100) -> dict[str, Any]:
    """List the hosts that one may see."""
    rows = await db.run_sync(hosts.list_hosts, user.access, after, limit + 1)
    stand = await db.run_sync(standings, [host.id for host in rows])
    return page(rows, limit, lambda host: hosts.host_json(host) | stand[host.id], lambda host: host.id)


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
    return hosts.host_json(host) | NEVER_SCANNED


@router.get("/{host_id}", response_model=HostShown)
async def get_host(host_id: HostId, db: Db, user: User) -> dict[str, Any]:
    """Show a host."""
    host = await db.run_sync(hosts.get_host, user.access, host_id)
    if host is None:
        raise not_found("host")
    return hosts.host_json(host) | (await db.run_sync(standings, [host.id]))[host.id]


@router.post("/{host_id}/check", status_code=202, response_model=RunShown)
async def check_host(
    host_id: HostId, db: Db, user: User, instance: CurrentInstance, background: BackgroundTasks
) -> dict[str, Any]:
    """Queue a run that tries whether the host can be scanned. Accepted means stored, as for a scan."""
    return await _queue(host_id, "check", db, user, instance, background)


@router.post("/{host_id}/reassess", status_code=202, response_model=RunShown)
async def reassess_host(
    host_id: HostId, db: Db, user: User, instance: CurrentInstance, background: BackgroundTasks
) -> dict[str, Any]:
    """Queue a run that matches the packages of the host's last scan anew, without touching the host."""
    return await _queue(host_id, "reassess", db, user, instance, background)


async def _queue(
    host_id: int, kind: HostRunKind, db: Db, user: SignedIn, instance: CurrentInstance, background: BackgroundTasks
) -> dict[str, Any]:
    host = await db.run_sync(hosts.get_host, user.access, host_id)
    if host is None:
        raise not_found("host")
    if not user.access.may_operate(host.id):
        raise forbidden("Viewers may look, not run or change. Ask an administrator for the operator role.")
    run, event = await db.run_sync(runs.create_host_run, host, kind, user.access.name)
    await db.commit()
    await announce(event, db, instance, background)
    return runs.run_json(run)


@router.get("/{host_id}/findings", response_model=HostFindings)
async def host_findings(
    host_id: HostId, db: Db, user: User, state: FindingState = "open", after: After = None, limit: Limit = 100
) -> dict[str, Any]:
    """List the findings of the host's last assessed scan, worst first: all (`open`), or those that it changed.

    Nothing but the verdict, that of the latest run, says whether an empty list means that the host is clean. When
    a newer scan takes this one's place before the last part was asked for, the answer is 409.
    """
    if await db.run_sync(hosts.get_host, user.access, host_id) is None:
        raise not_found("host")
    stand = (await db.run_sync(standings, [host_id]))[host_id]
    scan = await db.run_sync(findings.assessed_scan, host_id)
    stand |= {"scan_id": None if scan is None else scan.id, "verdict": (stand["latest"] or {}).get("verdict")}
    if scan is None:
        return stand | {"items": [], "next": None}
    place = None if after is None else Place.parse(after)
    if place is not None and place.scan_id != scan.id:
        raise conflict(
            "scan_replaced", "A newer scan of this host was assessed meanwhile: ask for the first part again."
        )
    rows = await db.run_sync(findings.list_findings, scan, state, place, limit + 1)
    return stand | page(rows, limit, lambda row: findings.host_finding_json(*row), lambda row: Place.of(scan, row[0]))
