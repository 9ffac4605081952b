"""What a job is, and the moves it may make."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """Where a job stands. The last four are ends: nothing follows them."""

    ACCEPTED = "accepted"
    PREPARING = "preparing"
    SCANNING = "scanning"
    REPORTING = "reporting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_end(self) -> bool:
        """Whether nothing follows."""
        return not NEXT[self]


NEXT: dict[State, frozenset[State]] = {
    State.ACCEPTED: frozenset({State.PREPARING, State.FAILED, State.CANCELLED}),
    State.PREPARING: frozenset({State.SCANNING, State.REPORTING, State.FAILED, State.CANCELLED}),
    State.SCANNING: frozenset({State.REPORTING, State.DONE, State.FAILED, State.CANCELLED, State.LOST}),
    State.REPORTING: frozenset({State.DONE, State.FAILED, State.CANCELLED, State.LOST}),
    State.DONE: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.LOST: frozenset(),
}


class Kind(StrEnum):
    """What a job does; which of the moves above it makes follows from it."""

    SCAN = "scan"  # both programs
    CHECK = "check"  # `vuls configtest` in place of the scan, and no report
    ASSESS = "assess"  # the report alone, of a result that the caller brought


class ScanType(StrEnum):
    """Vuls's scan modes."""

    FAST = "fast"
    FAST_ROOT = "fast-root"
    DEEP = "deep"


class Step(StrEnum):
    """The programs of a job, one container each."""

    SCAN = "scan"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the store, without the result and the one that the caller brought."""

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
    scan_log: tuple[str, ...]
    report_log: tuple[str, ...]
    error_code: str | None
    error_sentence: str | None
    cancel_requested: bool
    database_digest: str | None = None
    database_modified_at: datetime | None = None
    kind: Kind = Kind.SCAN
    given_digest: str | None = None  # SHA-256 of the result that it assesses
    running_since: float | None = None  # when its program was started, on the monotonic clock of the boot
