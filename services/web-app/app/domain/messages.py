"""Every message of the protocol as a model: the one source of the JSON Schemas, of AsyncAPI and of what is accepted."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

CursorText = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9]{1,32}-[0-9]{1,19}$", description="an event's id; opaque to clients")
]
MAX_COUNT = 10**9  # of what digests add up: the sum of many still is a number that every encoder takes
Count = Annotated[int, Field(ge=0)]
Found = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Timestamp = Annotated[
    str,
    Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?$", description="UTC, ISO 8601, without a zone"),
]
Status = Literal["queued", "started", "success", "failed", "cancelled"]


class Message(BaseModel):
    """What all messages share: nothing beyond what the schema names, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Open(BaseModel):
    """A part that may grow new keys; known keys keep name and meaning."""

    model_config = ConfigDict(extra="allow", strict=True)


class Reason(Open):
    """Why a run was not assessed or failed."""

    code: str
    sentence: str


class ResultData(Open):
    """What a run says of itself. A finished scan has verdict and counts; a message sent by hand has what it likes."""

    scan_id: int | None = None
    verdict: Literal["assessed", "not_assessed", "failed"] | None = None
    vulnerabilities: Found | None = None
    critical: Found | None = None
    high: Found | None = None
    medium: Found | None = None
    low: Found | None = None
    unknown: Found | None = None
    reason: Reason | None = None
    demo: bool = False
    kind: str | None = None
    collected_at: Timestamp | None = None


class TaskUpdateData(Open):
    """The six fields that are always there, the host where there is one, and `kind` where the run is no scan."""

    task_id: int
    task_run_id: int
    status: Status
    task_name: str
    result_data: ResultData
    timestamp: Timestamp
    host_id: int | None = None
    host_name: str | None = None
    kind: Literal["scan", "check", "reassess"] = "scan"


class TaskUpdate(Message):
    """A run changed its state. Without `id` it was sent by hand and is in no log."""

    type: Literal["task_update"]
    id: CursorText | None = None
    data: TaskUpdateData


class TaskProgressData(Open):
    """How far a running scan is."""

    task_id: int
    task_run_id: int
    task_name: str
    phase: str
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    timestamp: Timestamp
    host_id: int | None = None
    host_name: str | None = None


class TaskProgress(Message):
    """A run goes on. Of several for one run only the latest may come, and none once it has ended."""

    type: Literal["task_progress"]
    id: CursorText
    data: TaskProgressData


class ChangeCounts(Open):
    """How many findings changed in this way: the five severities add up to `total`. `cve_ids` names the worst 100."""

    total: Found
    critical: Found
    high: Found
    medium: Found
    low: Found
    unknown: Found
    cve_ids: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=100)]


class FindingsChangedData(Open):
    """What is different from the host's assessed scan before. The severity is that of now, of a fixed one the last."""

    host_id: int
    host_name: str
    scan_id: int
    task_run_id: int
    new: ChangeCounts
    fixed: ChangeCounts
    severity_changed: ChangeCounts
    reappeared: ChangeCounts
    timestamp: Timestamp


class FindingsChanged(Message):
    """The vulnerabilities of a host changed; one message for a scan, and none where nothing did."""

    type: Literal["findings_changed"]
    id: CursorText
    data: FindingsChangedData


class DigestData(Message):
    """Counts over the updates that you may see behind `since` up to `id`; the four statuses add up to `events`.

    On `changed` hosts an assessed scan found something else than the one before it: `new` findings and so on.
    """

    since: CursorText
    events: Count
    queued: Count
    started: Count
    success: Count
    cancelled: Count
    assessed: Count
    not_assessed: Count
    vulnerabilities: Count
    high: Count
    medium: Count
    low: Count
    unknown: Count
    changed: Count
    new: Count
    fixed: Count
    reappeared: Count
    severity_changed: Count
    hosts: Count


class Digest(Message):
    """Much happened at once. Nothing failed and nothing critical was found among it: those come by themselves.

    The details are in `/api/notifications?since=…&until=…`.
    """

    type: Literal["digest"]
    id: CursorText
    data: DigestData


class HelloData(Message):
    """Who answers."""

    instance: str
    epoch: str
    release: str


class Hello(Message):
    """The first message. `id` is the newest event; with `since`, what lies between comes after `resumed`."""

    type: Literal["hello"]
    id: CursorText
    data: HelloData


class ResumedData(Message):
    """How many missed events follow."""

    events: Count


class Resumed(Message):
    """The log was read from `since`, which is `id`. Exactly the missed events follow, then the live ones."""

    type: Literal["resumed"]
    id: CursorText
    data: ResumedData


class ResyncData(Message):
    """Why the cursor cannot be continued from."""

    reason: Literal["other_epoch", "unknown_cursor", "too_old", "too_many"]


class ResyncRequired(Message):
    """Load everything anew, then come back with the cursor of what was loaded. `id` is the newest event."""

    type: Literal["resync_required"]
    id: CursorText
    data: ResyncData


class Snapshot(Message):
    """The state at the cursor `id`, as `/api/overview` gives it, for a client that asked for it by `snapshot=true`."""

    type: Literal["snapshot"]
    id: CursorText
    data: dict[str, Any]


class HeartbeatData(Message):
    """How fresh the feed is.

    `live`: events come at once. `delayed`: Redis is away, the log is read every second. `stale`: it cannot be read.
    `age` is the seconds since it was last read.
    """

    state: Literal["live", "delayed", "stale"]
    age: Annotated[float, Field(ge=0)]


class Heartbeat(Message):
    """Nothing that you may see lies between your last event and `id`; continue from it."""

    type: Literal["heartbeat"]
    id: CursorText
    data: HeartbeatData


class ReconnectData(Message):
    """When to come back."""

    after_ms: Count


class Reconnect(Message):
    """The instance is about to stop: close and come back after `after_ms` milliseconds with your cursor."""

    type: Literal["reconnect"]
    data: ReconnectData


class ErrorData(Message):
    """What was wrong with what the client sent."""

    code: Literal["unexpected_message"]
    detail: str


class Error(Message):
    """The client sent something that the protocol does not know. Repeated, the socket is closed with 4009."""

    type: Literal["error"]
    data: ErrorData


MESSAGES: tuple[type[Message], ...] = (
    TaskUpdate,
    TaskProgress,
    FindingsChanged,
    Digest,
    Hello,
    Snapshot,
    Resumed,
    ResyncRequired,
    Heartbeat,
    Reconnect,
    Error,
)


def message_type(model: type[Message]) -> str:
    """Return the value of `type` in messages of this model."""
    return str(model.model_json_schema()["properties"]["type"]["const"])


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema (2020-12) of every message by its `type`."""
    return {message_type(model): model.model_json_schema() for model in MESSAGES}
