"""What goes over the socket, strict to the character."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from executor.jobs import Job, Kind, ScanType, State
from executor.targets import ServerName

JobId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class ScanRequest(BaseModel):
    """The whole of what a caller may choose."""

    model_config = ConfigDict(extra="forbid")

    job_id: JobId
    server: ServerName
    scan_type: ScanType = ScanType.FAST


class CheckRequest(BaseModel):
    """Which server is to be checked."""

    model_config = ConfigDict(extra="forbid")

    job_id: JobId
    server: ServerName


class GivenResult(BaseModel):
    """A result as Vuls wrote it, in the form of version 4, without the `config` of the scan host that it came from."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"not": {"required": ["config"]}})

    version: Annotated[Literal[4], Field(alias="jsonVersion")]
    server: Annotated[ServerName, Field(alias="serverName")]

    @model_validator(mode="after")
    def _without_config(self) -> Self:
        if "config" in self.document():
            raise ValueError("config must be left out: it holds addresses, users and key paths")
        return self

    def document(self) -> dict[str, Any]:
        """Return all of it."""
        return {**(self.model_extra or {}), "jsonVersion": self.version, "serverName": self.server}


class AssessRequest(CheckRequest):
    """A result to assess anew, and the server that it must be of."""

    result: GivenResult


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
    kind: Kind
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
            kind=job.kind,
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
