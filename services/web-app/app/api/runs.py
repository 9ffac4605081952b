"""`/api/runs` and `/api/scans`: what ran, and what it brought back."""

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Path, Query

from app.api.announce import announce
from app.api.auth import SignedIn, User
from app.api.deps import Db, Limit, page
from app.api.instance import CurrentInstance
from app.api.problems import conflict, forbidden, invalid, not_found
from app.api.schemas import Id, Page, RunLogShown, RunShown, ScanFindingShown, ScanPackageShown, ScanShown
from app.db import run_log as logs
from app.db import runs, scans
from app.db.findings import Place
from app.db.models import Scan
from app.db.scans import ScanFindingState
from app.domain.run_log import KEPT
from app.domain.status import FINISHED_STATUSES

router = APIRouter(prefix="/api", tags=["runs"])
RunId = Annotated[Id, Path()]
ScanId = Annotated[Id, Path()]
After = Annotated[str | None, Query(pattern=Place.PATTERN, description="the `next` of the part before")]
LogLimit = Annotated[int, Query(ge=1, le=KEPT)]


@router.get("/runs", response_model=Page[RunShown])
async def list_runs(
    db: Db, user: User, task_id: Id | None = None, before: Id | None = None, limit: Limit = 50
) -> dict[str, Any]:
    """List runs, newest first; `next` is the `before` of the part that follows."""
    rows = await db.run_sync(runs.list_runs, user.access, task_id, before, limit + 1)
    return page(rows, limit, runs.run_json, lambda run: run.id)


@router.get("/runs/{run_id}", response_model=RunShown)
async def get_run(run_id: RunId, db: Db, user: User) -> dict[str, Any]:
    """Show a run."""
    run = await db.run_sync(runs.get_run, user.access, run_id)
    if run is None:
        raise not_found("run")
    return runs.run_json(run)


@router.get("/runs/{run_id}/log", response_model=RunLogShown)
async def run_log(run_id: RunId, db: Db, user: User, since: Id = 0, limit: LogLimit = 500) -> dict[str, Any]:
    """Show what the programs of a run say, after the line `since`. Of a run that goes on there is always a `next`."""
    run = await db.run_sync(runs.get_run, user.access, run_id)
    if run is None:
        raise not_found("run")
    lines = await db.run_sync(logs.read_log, run_id, since, limit)
    over = run.status in FINISHED_STATUSES and len(lines) < limit
    following = None if over else str(lines[-1].n if lines else since)
    return {"items": [{"n": line.n, "text": line.text} for line in lines], "next": following}


@router.post("/runs/{run_id}/cancel", response_model=RunShown)
async def cancel_run(
    run_id: RunId, db: Db, user: User, instance: CurrentInstance, background: BackgroundTasks
) -> dict[str, Any]:
    """End a run that has not finished. A worker that is at it stops the scan within seconds."""
    run = await db.run_sync(runs.get_run, user.access, run_id)
    if run is None:
        raise not_found("run")
    if not user.access.may_operate(run.host_id):
        raise forbidden("Viewers may look, not cancel. Ask an administrator for the operator role.")
    event = await db.run_sync(runs.cancel_run, run_id)
    if event is None:
        raise conflict("run_finished", "The run has finished; there is nothing to cancel.")
    await db.commit()
    await announce(event, db, instance, background)
    return runs.run_json(run)


@router.get("/scans/{scan_id}", response_model=ScanShown)
async def get_scan(scan_id: ScanId, db: Db, user: User) -> dict[str, Any]:
    """Show what a run brought back, with the 100 worst of its findings."""
    return await db.run_sync(scans.scan_json, await _find_scan(scan_id, db, user))


@router.get("/scans/{scan_id}/findings", response_model=Page[ScanFindingShown])
async def scan_findings(
    scan_id: ScanId, db: Db, user: User, state: ScanFindingState = "found", after: After = None, limit: Limit = 100
) -> dict[str, Any]:
    """List the findings of a scan, worst first, or those of the assessed scan before it that it `fixed`."""
    scan = await _find_scan(scan_id, db, user)
    place = None if after is None else Place.parse(after)
    if place is not None and place.scan_id != scan.id:
        raise invalid("after", "This is a place in the list of another scan.")
    rows = await db.run_sync(scans.findings_of, scan, state, place, limit + 1)
    part = page(rows, limit, lambda one: one, lambda one: Place.of(scan, one))
    return part | {"items": await db.run_sync(scans.scan_findings_json, scan, part["items"])}


@router.get("/scans/{scan_id}/packages", response_model=Page[ScanPackageShown])
async def scan_packages(
    scan_id: ScanId, db: Db, user: User, after: Annotated[int, Query(ge=0, le=10**6)] = 0, limit: Limit = 100
) -> dict[str, Any]:
    """List the packages that a scan found installed, by name; `after` is how many come before."""
    await _find_scan(scan_id, db, user)
    rows = await db.run_sync(scans.packages_of, scan_id, after, limit + 1)
    return {"items": rows[:limit], "next": str(after + limit) if len(rows) > limit else None}


async def _find_scan(scan_id: int, db: Db, user: SignedIn) -> Scan:
    scan = await db.run_sync(scans.get_scan, user.access, scan_id)
    if scan is None:
        raise not_found("scan")
    return scan
