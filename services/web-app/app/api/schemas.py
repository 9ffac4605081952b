"""Bodies of requests and answers. Requests are strict: nothing beyond the named fields, nothing converted."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from app.domain import names
from app.domain.messages import ChangeCounts
from app.domain.permissions import Role
from app.domain.status import RunKind, RunStatus, ScanType, Trigger
from app.domain.time_limit import TimeLimit
from app.utils.passwords import MAX_LENGTH, MIN_LENGTH

HostName = Annotated[str, Field(pattern=names.HOST)]
GroupName = Annotated[str, Field(pattern=names.GROUP)]
UserName = Annotated[str, Field(pattern=names.USER)]
Address = Annotated[str, Field(pattern=names.ADDRESS)]
Zone = Annotated[str, Field(pattern=names.ZONE)]
Title = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Cron = Annotated[str, Field(min_length=1, max_length=200)]
TimeZone = Annotated[str, Field(min_length=1, max_length=64)]
Id = Annotated[int, Field(ge=0, le=2**63 - 1)]
Item = TypeVar("Item")


class Body(BaseModel):
    """What a request may say."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Page(BaseModel, Generic[Item]):
    """A part of a list. `next`, where there is one, is the `after` of the part that follows."""

    items: list[Item]
    next: str | None


class Login(Body):
    """Name and password."""

    username: Title
    password: Annotated[SecretStr, Field(min_length=1, max_length=MAX_LENGTH)]


class Me(BaseModel):
    """The signed-in user. `sees_all`: every host, and events that concern no host."""

    id: int
    name: str
    role: Role
    groups: list[str]
    sees_all: bool


class NewUser(Body):
    """A user to add. Without a password the user can only use tokens."""

    name: UserName
    password: Annotated[SecretStr, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH)] | None = None
    role: Annotated[Role, Field(strict=False)]
    groups: Annotated[list[GroupName], Field(max_length=100)] = []


class UserChange(Body):
    """What to change of a user; what is left out stays."""

    password: Annotated[SecretStr, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH)] | None = None
    role: Annotated[Role, Field(strict=False)] | None = None
    groups: Annotated[list[GroupName], Field(max_length=100)] | None = None
    disabled: bool | None = None


class UserShown(BaseModel):
    """A user as administrators see it."""

    id: int
    name: str
    role: Role
    groups: list[str]
    disabled: bool
    created_at: datetime


class NewToken(Body):
    """A bearer token to make for a user."""

    user: UserName
    name: Title
    days: Annotated[int, Field(ge=1, le=3650)] | None = None


class TokenShown(BaseModel):
    """A token as lists show it."""

    id: int
    user: str
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenMade(TokenShown):
    """A new token with its secret, which is shown this once and stored nowhere."""

    token: str


class NewHost(Body):
    """A host to scan. `name` is what the executor and Vuls call it."""

    name: HostName
    address: Address
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    zone: Zone = "default"
    hypervisor_group: GroupName | None = None
    groups: Annotated[list[GroupName], Field(max_length=100)] = []


class LatestRun(BaseModel):
    """The run of a host that ended last; cancelled ones and checks aside, and a reassess that says nothing new."""

    run_id: int
    status: Literal["success", "failed"]
    finished_at: datetime
    verdict: Literal["assessed", "not_assessed", "failed"] | None
    reason: dict[str, Any] | None


class Counts(BaseModel):
    """Findings by severity."""

    critical: int
    high: int
    medium: int
    low: int
    unknown: int


class Assessment(BaseModel):
    """What the last assessed scan of a host found. The latest run may be a later one that assessed nothing.

    `collected_at` is when its packages were collected: before `assessed_at` where they were assessed anew.
    """

    scan_id: int
    assessed_at: datetime
    collected_at: datetime
    demo: bool
    reboot_required: bool
    counts: Counts


class HostShown(BaseModel):
    """A host, and how it stands."""

    id: int
    name: str
    address: str
    port: int
    zone: str
    hypervisor_group: str | None
    groups: list[str]
    latest: LatestRun | None
    assessment: Assessment | None


class NewTask(Body):
    """A task to add. Without `cron` it runs by hand only.

    A scan that takes more than `time_limit_minutes` is ended; null: only the workers' own limit holds.
    """

    name: Title
    host_id: Id
    scan_type: ScanType = "fast"
    cron: Cron | None = None
    timezone: TimeZone = "UTC"
    enabled: bool = True
    time_limit_minutes: TimeLimit | None = None


_MAY_BE_NULL = frozenset({"cron", "time_limit_minutes"})


class TaskChange(Body):
    """What to change of a task; what is left out stays.

    `cron: null` ends the schedule, `time_limit_minutes: null` the limit; nothing else may be null.
    """

    name: Title | None = None
    cron: Cron | None = None
    timezone: TimeZone | None = None
    enabled: bool | None = None
    time_limit_minutes: TimeLimit | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("Name at least one field to change.")
        null = [name for name in sorted(self.model_fields_set - _MAY_BE_NULL) if getattr(self, name) is None]
        if null:
            may_be = " and ".join(sorted(_MAY_BE_NULL))
            raise ValueError(f"Only {may_be} may be null: leave {' and '.join(null)} out, or give a value.")
        return self


class RunShown(BaseModel):
    """A run. `result_data` is exactly what its last event says.

    `kind`: a scan, a check (whether the host can be scanned) or a reassess (packages of an earlier scan, matched anew).
    `phase` is how far it got; `percent` an estimate while it is started, null where the host has no earlier scans.
    """

    id: int
    task_id: int
    task_name: str
    host_id: int
    host_name: str
    kind: RunKind
    status: RunStatus
    trigger: Trigger
    time_limit_minutes: int | None
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result_data: dict[str, Any]
    phase: str | None
    percent: Annotated[int, Field(ge=0, le=100)] | None


class LogLine(BaseModel):
    """A line that the programs of a run said. Numbers grow by one; the first are missing where they are not kept."""

    n: int
    text: str


class RunLogShown(BaseModel):
    """A part of a run's log. `next` is the `since` to ask with next time; null when nothing will follow."""

    items: list[LogLine]
    next: str | None


class TaskShown(BaseModel):
    """A task and when it is due next."""

    id: int
    name: str
    host_id: int
    host_name: str
    scan_type: ScanType
    cron: str | None
    timezone: str
    enabled: bool
    time_limit_minutes: int | None
    next_due_at: datetime | None
    last_run: RunShown | None = None


class PackageShown(BaseModel):
    """A package that a finding is about."""

    model_config = ConfigDict(extra="allow")

    name: str
    fixed_in: str | None = None
    not_fixed_yet: bool | None = None


class FindingShown(BaseModel):
    """One CVE on one host."""

    cve_id: str
    severity: Literal["critical", "high", "medium", "low", "unknown"]
    score: float | None
    title: str
    packages: list[PackageShown]
    links: list[str]


class ScanFindingShown(FindingShown):
    """One CVE of a scan, and whether the assessed scan before had it in this way."""

    change: Literal["new", "reappeared", "severity_changed", "fixed"] | None
    severity_before: Literal["critical", "high", "medium", "low", "unknown"] | None


class ScanPackageShown(BaseModel):
    """A package that a scan found installed; `new_version` is the one that it could be updated to."""

    name: str
    version: str
    new_version: str | None
    arch: str | None
    repository: str | None


class ScanChanges(BaseModel):
    """What is different from the assessed scan before, `since`: the counts as in the event `findings_changed`.

    `fixed_findings` are the 100 worst; `fixed_next` is the `after` of the part that follows, with `state=fixed`.
    """

    since_scan_id: int
    since: datetime
    new: ChangeCounts
    fixed: ChangeCounts
    severity_changed: ChangeCounts
    reappeared: ChangeCounts
    fixed_findings: list[FindingShown]
    fixed_next: str | None


class DatabaseShown(BaseModel):
    """A vulnerability database: its checksum, and when its maker last changed it."""

    digest: str
    modified_at: datetime


class ScanHostShown(BaseModel):
    """A host that scans for a zone, as its worker told at `seen_at`.

    `degraded` scans, but assesses nothing; `ill` cannot scan; of an `unreachable` one the executor does not answer; of
    a `silent` one the worker has not been heard of for three minutes.
    """

    name: str
    zone: str
    state: Literal["ok", "degraded", "ill", "unreachable", "silent"]
    seen_at: datetime
    database: DatabaseShown | None


class ScanShown(BaseModel):
    """What a run brought back. `reboot_required`: a newer kernel than the running one, `kernel`, is installed.

    `database` is what its packages were matched against; null where that is not known.
    Where packages were assessed anew, `packages_from_scan_id` is the scan that collected them, at `collected_at`.
    `findings` are the 100 worst; `findings_next` is the `after` of the part that follows, in `/api/scans/ID/findings`.
    """

    id: int
    run_id: int
    host_id: int
    host_name: str
    created_at: datetime
    family: str
    release: str
    verdict: Literal["assessed", "not_assessed"]
    reason: dict[str, Any] | None
    demo: bool
    kernel: str
    reboot_required: bool
    package_count: int
    database: DatabaseShown | None
    packages_from_scan_id: int | None
    collected_at: datetime
    findings: list[ScanFindingShown]
    findings_next: str | None
    changes: ScanChanges | None


class HostFindingShown(FindingShown):
    """One CVE of a host, and how it last changed there. `baseline`: it was there in the first assessed scan."""

    change: Literal["baseline", "new", "reappeared", "severity_changed", "fixed"] | None
    changed_at: datetime | None
    severity_before: Literal["critical", "high", "medium", "low", "unknown"] | None
    first_seen_at: datetime | None


class HostFindings(BaseModel):
    """The findings of a host's last assessed scan. Only `verdict`, that of `latest`, says how the host stands today."""

    scan_id: int | None
    verdict: Literal["assessed", "not_assessed", "failed"] | None
    latest: LatestRun | None
    assessment: Assessment | None
    items: list[HostFindingShown]
    next: str | None


class Envelope(BaseModel):
    """An event of the log as it travels."""

    type: str
    id: str
    data: dict[str, Any]


class Notifications(BaseModel):
    """Events behind a cursor, and the cursor to ask with next time."""

    items: list[Envelope]
    next: str


class Overview(BaseModel):
    """What the page shows, and the cursor at which all of it is true."""

    model_config = ConfigDict(extra="allow")

    cursor: str
    user: dict[str, Any]
    tasks: list[TaskShown]
    running: list[RunShown]
    recent: list[RunShown]
    hosts: list[dict[str, Any]]
    scan_hosts: list[ScanHostShown]
