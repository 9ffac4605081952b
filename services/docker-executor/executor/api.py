"""The seven calls of the executor."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.types import ASGIApp

from executor import health, problems
from executor.database import Database
from executor.engine import Engine
from executor.feed import Feed
from executor.gate import Gate
from executor.jobs import Job, Kind, ScanType
from executor.problems import TooLarge, UnfitResult, UnknownJob
from executor.results import as_scanned
from executor.schema import (
    AssessRequest,
    CheckRequest,
    Health,
    JobId,
    JobView,
    PhaseEvent,
    ProblemDetails,
    ScanRequest,
)
from executor.settings import Settings
from executor.store import Store
from executor.supervisor import Supervisor

MAX_BODY = 4096
PROBLEM = {
    "description": "A problem document (RFC 9457)",
    "content": {"application/problem+json": {"schema": ProblemDetails.model_json_schema()}},
}


class Parts:
    """What the calls work with; made once, when the server starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.state_dir / "jobs.sqlite3")
        self.engine = Engine(settings)
        self.feed = Feed()
        self.database = Database(settings.database)
        self.supervisor = Supervisor(settings, self.store, self.engine, self.feed, self.database)


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


With = Annotated[Parts, Depends(_parts)]


def _known_job(job_id: Annotated[JobId, Path()], parts: With) -> Job:
    job = parts.store.get(job_id)
    if job is None:
        raise UnknownJob(f"There is no job {job_id}.")
    return job


KnownJob = Annotated[Job, Depends(_known_job)]


def create_app(parts: Parts, api_key: bytes) -> ASGIApp:
    """Return the application; its lifespan starts and stops the supervisor."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.supervisor.start()
        try:
            yield
        finally:
            await parts.supervisor.stop()
            parts.store.close()

    app = FastAPI(
        title="docker-executor",
        lifespan=lifespan,
        max_body_size=MAX_BODY,
        responses={"default": PROBLEM},
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts = parts
    max_result = parts.settings.result_limit + MAX_BODY
    problems.install(app)
    again: dict[int | str, dict[str, Any]] = {
        200: {"model": JobView, "description": "The job that has this id and body already"}
    }
    app.post("/scan", status_code=202, response_model=JobView, responses=again)(scan)
    app.post("/check", status_code=202, response_model=JobView, responses=again)(check)
    app.post("/assess", status_code=202, response_model=JobView, responses=again, max_body_size=max_result)(assess)
    app.get("/jobs/{job_id}", response_model=JobView)(read_job)
    app.get("/jobs/{job_id}/events", response_class=EventSourceResponse)(events)
    app.delete("/jobs/{job_id}", status_code=202, response_model=JobView)(cancel)
    ill: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "Nothing can be scanned"}}
    app.get("/health", response_model=Health, responses=ill)(read_health)
    return Gate(app, api_key, MAX_BODY, {"/assess": max_result})


async def scan(body: ScanRequest, parts: With) -> Response:
    """Accept a job (202), or return the one that has this id and body already (200), with its result if it ended."""
    job, new = parts.supervisor.submit(body.job_id, body.server, body.scan_type)
    return _answer(parts, job, 202 if new else 200)


async def check(body: CheckRequest, parts: With) -> Response:
    """Accept a job that only tries whether the server can be scanned; otherwise as `scan`."""
    job, new = parts.supervisor.submit(body.job_id, body.server, ScanType.FAST, Kind.CHECK)
    return _answer(parts, job, 202 if new else 200)


async def assess(body: AssessRequest, parts: With) -> Response:
    """Accept a job that assesses an earlier result anew, without touching the server; otherwise as `scan`."""
    if body.result.server != body.server:
        raise UnfitResult(f"The result is that of another server than {body.server}.")
    try:
        given = await asyncio.to_thread(as_scanned, body.result.document())
    except ValueError as error:
        raise UnfitResult(f"The result cannot be handed on: {error}.") from error
    if len(given) > parts.settings.result_limit:
        raise TooLarge(f"A result has no more than {parts.settings.result_limit} bytes.")
    job, new = parts.supervisor.submit(body.job_id, body.server, ScanType.FAST, Kind.ASSESS, given)
    return _answer(parts, job, 202 if new else 200)


def read_job(job: KnownJob, parts: With) -> Response:
    """Return the job."""
    parts.supervisor.note_asked(job)
    return _answer(parts, job)


async def events(job: KnownJob, parts: With) -> AsyncIterator[ServerSentEvent]:
    """Stream the job's moves and phases from where it stands, then one `end`."""
    parts.supervisor.note_asked(job)
    async for seen in parts.feed.follow(job.id, parts.store.get):
        data = PhaseEvent(state=seen.state, phase=seen.phase)
        yield ServerSentEvent(event="phase", data=data)
        if seen.state.is_end:
            yield ServerSentEvent(event="end", data=data)


async def cancel(job: KnownJob, parts: With) -> Response:
    """Ask for the job's end; it comes within 5 s. A job that has ended stays as it is."""
    return _answer(parts, parts.supervisor.cancel(job.id), 202)


async def read_health(response: Response, parts: With) -> Health:
    """Say what works; 503 when nothing can be scanned."""
    found = await asyncio.to_thread(health.check, parts.settings, parts.engine, parts.database)
    response.status_code = 503 if found.status == "ill" else 200
    return found


def _answer(parts: Parts, job: Job, status: int = 200) -> Response:
    """Return the job as JSON. The result is stored as text and can be megabytes, so it is put in unparsed."""
    view = JobView.of(job).model_dump_json(exclude={"result"})
    result = (parts.store.result(job.id) if job.state.is_end else None) or "null"
    return Response(f'{view[:-1]},"result":{result}}}', status_code=status, media_type="application/json")
