"""The second, root-only socket of an instance: status, metrics, drain. Nothing of it is on the public one."""

import logging
import math
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.api import problems
from app.api.instance import Instance
from app.api.metrics import InstanceCollector, Stored
from app.api.problems import ProblemError
from app.db.run_counts import count_ended_runs, count_open_runs
from app.db.scan_hosts import list_scan_hosts
from app.domain.permissions import Access, Role
from app.realtime.service import PACE, DrainTooShortError

EVERYTHING = Access(0, "metrics", Role.ADMIN, None)
log = logging.getLogger(__name__)


def create_admin_app(public: FastAPI) -> FastAPI:
    """Make the admin application of the instance that `public` serves."""
    app = FastAPI(title="Vuls Live: admin socket", docs_url=None, redoc_url=None, openapi_url=None)
    problems.install(app)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    collectors: dict[Instance, InstanceCollector] = {}

    def instance() -> Instance:
        running: Instance | None = getattr(public.state, "instance", None)
        if running is None:
            raise ProblemError(503, "starting", "The instance is starting or has stopped.")
        return running

    @app.get("/status")
    async def status() -> dict[str, Any]:
        return await _status(instance())

    @app.get("/metrics")
    async def metrics() -> Response:
        running = instance()
        if running not in collectors:
            collectors[running] = InstanceCollector(running)
            registry.register(collectors[running])
        collectors[running].stored = await _stored(running)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.post("/drain")
    async def drain(seconds: Annotated[float, Query(ge=0, le=600)] = 10) -> dict[str, Any]:
        try:
            clients = await instance().realtime.drain(seconds)
        except DrainTooShortError as error:
            raise _drain_too_short(instance(), seconds, error) from error
        return {"drained": clients, "instance": instance().settings.instance}

    return app


async def _stored(instance: Instance) -> Stored | None:
    """Return what the database says; None while it is away, which other metrics tell."""

    def read(session: Session) -> Stored:
        return Stored(list_scan_hosts(session, EVERYTHING), count_open_runs(session), count_ended_runs(session))

    try:
        async with instance.sessions() as session:
            return await session.run_sync(read)
    except SQLAlchemyError as error:
        log.warning("The metrics lack runs and scan hosts: the database is away (%s)", type(error).__name__)
        return None


def _drain_too_short(instance: Instance, seconds: float, error: DrainTooShortError) -> ProblemError:
    """Make the answer that names the command with enough time: to allow more at once takes a restart."""
    settings = instance.settings
    enough = math.ceil(len(instance.realtime.manager) / settings.reconnects_per_second / PACE)
    number = settings.instance.rpartition(":")[2]
    detail = f"Not drained: {error}, which is more than {seconds:g} s."
    return ProblemError(409, "drain_too_short", detail, extra={"next": f"vulsctl drain {number} --seconds {enough}"})


async def _status(instance: Instance) -> dict[str, Any]:
    state = await instance.readiness.state()
    realtime = instance.realtime
    age = realtime.log_age()
    return {
        "instance": instance.settings.instance,
        "release": instance.settings.release_id,
        "ready": state.ready,
        "reason": state.reason,
        "database": state.database,
        "redis": state.redis,
        "feed": realtime.pulse().state,
        "clients": len(realtime.manager),
        "users": len(realtime.manager.user_ids),
        "cursor": str(realtime.manager.head) if realtime.manager.head else None,
        "log_read_seconds_ago": None if age is None else round(age, 1),
        "uptime_seconds": int((datetime.now(UTC) - instance.started_at).total_seconds()),
    }
