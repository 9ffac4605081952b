"""What goes over the socket, strict to the character."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from executor.jobs import Job, ScanType, State
from executor.targets import ServerName

JobId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class ScanRequest(BaseModel):
    """The whole of what a caller may choose."""

    model_config = ConfigDict(extra="forbid")

    job_id: JobId
    server: ServerName
    scan_type: ScanType = ScanType.FAST


class JobError(BaseModel):
    """Why a job came to no good end."""

    code: str
    sentence: str


class JobDatabase(BaseModel):
    """Which database a job was assessed with."""

    digest: str
    modified_at: datetime


class JobView(BaseModel):
    """A job as its caller sees it."""

    id: str
    server: str
    scan_type: ScanType
    state: State
    phase: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    scan_exit: int | None
    report_exit: int | None
    log: Annotated[list[str], Field(description="Last lines of both programs' stderr")]
    error: JobError | None
    database: Annotated[
        JobDatabase | None,
        Field(description="The database as the report found it; null before, and when there was none to tell of"),
    ]
    result: Annotated[
        dict[str, Any] | None,
        Field(description="Vuls's result without `config`; null before the end, and when Vuls wrote none"),
    ] = None

    @classmethod
    def of(cls, job: Job) -> "JobView":
        """Return the view of `job`, without its result."""
        database = None
        if job.database_digest is not None and job.database_modified_at is not None:
            database = JobDatabase(digest=job.database_digest, modified_at=job.database_modified_at)
        return cls(
            id=job.id,
            server=job.server,
            scan_type=job.scan_type,
            state=job.state,
            phase=job.phase,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            scan_exit=job.scan_exit,
            report_exit=job.report_exit,
            log=[*job.scan_log, *job.report_log],
            error=JobError(code=job.error_code, sentence=job.error_sentence or "") if job.error_code else None,
            database=database,
        )


class PhaseEvent(BaseModel):
    """The data of an event in the stream."""

    state: State
    phase: str


class ProblemDetails(BaseModel):
    """An error (RFC 9457); `code` is for programs, `detail` for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class DatabaseInfo(BaseModel):
    """Which database is on the scan host."""

    digest: str
    modified_at: datetime
    size: int
    source: str


class Health(BaseModel):
    """What the executor depends on. `degraded` scans, but assesses nothing; `ill` cannot scan."""

    status: Literal["ok", "degraded", "ill"]
    engine: Literal["ok", "unreachable"]
    image: Literal["ok", "missing", "unknown"]
    database: Literal["ok", "missing", "unreadable"]
    database_info: Annotated[
        DatabaseInfo | None,
        Field(description="Null when the database is not ok, is a directory of demo data, or is still being read"),
    ]
