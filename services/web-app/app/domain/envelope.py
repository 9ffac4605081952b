"""The form in which events travel: over the Redis channel, the WebSocket, SSE and polling."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.domain.cursor import Cursor

TASK_UPDATE = "task_update"
TASK_PROGRESS = "task_progress"
FINDINGS_CHANGED = "findings_changed"
UNREADABLE = "unreadable"  # the type of a row whose data cannot be decoded: readers pass over it with their cursor
# The table's CHECK has the same list. Not among them: what the protocol itself says (`hello`, `resync_required`, …).
EVENT_TYPES = (TASK_UPDATE, TASK_PROGRESS, FINDINGS_CHANGED, "host_changed", "schedule_changed", "notice")


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A committed event. `host_id` None: for users who may see all hosts."""

    cursor: Cursor
    type: str
    host_id: int | None
    data: dict[str, Any]
    created_at: datetime


def envelope(event: StoredEvent) -> dict[str, Any]:
    """Return what every reader of `event` gets, with its cursor as the id."""
    return {"type": event.type, "id": str(event.cursor), "data": event.data}


def task_update_data(
    task_id: int,
    task_run_id: int,
    status: str,
    task_name: str,
    result_data: Mapping[str, Any],
    timestamp: datetime,
) -> dict[str, Any]:
    """Return the six fields of a `task_update`."""
    return {
        "task_id": task_id,
        "task_run_id": task_run_id,
        "status": status,
        "task_name": task_name,
        "result_data": dict(result_data),
        "timestamp": event_time(timestamp),
    }


def task_progress_data(
    task_id: int, task_run_id: int, task_name: str, phase: str, percent: int | None, timestamp: datetime
) -> dict[str, Any]:
    """Return what a `task_progress` always says; `percent` is None where that cannot be told."""
    return {
        "task_id": task_id,
        "task_run_id": task_run_id,
        "task_name": task_name,
        "phase": phase,
        "percent": percent,
        "timestamp": event_time(timestamp),
    }


def event_time(moment: datetime) -> str:
    """Return a time as events have it: UTC without a zone, as documented."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
