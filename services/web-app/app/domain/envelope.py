"""The form in which events travel: over the Redis channel, the WebSocket, SSE and polling."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from app.domain.cursor import Cursor
from app.domain.status import RUN_STATUSES

TASK_UPDATE = "task_update"
TASK_PROGRESS = "task_progress"
UNREADABLE = "unreadable"  # the type of a row whose data cannot be decoded: readers pass over it with their cursor
# The table's CHECK has the same list. Not among them: what the protocol itself says (`hello`, `resync_required`, …).
EVENT_TYPES = (TASK_UPDATE, TASK_PROGRESS, "findings_changed", "host_changed", "schedule_changed", "notice")

MAX_DATA = 32 * 1024  # bytes of an event's data, as PostgreSQL spells it; its CHECK ends at twice that
MAX_DEPTH = 16  # objects and lists within each other; the CHECK ends at twice that, encoders at 254
MAX_NUMBER = 2**53 - 1  # beyond it a browser rounds
MAX_COUNT = 10**9  # of what a digest adds up: so many of them still are a number that every encoder takes

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?", re.ASCII)


class BadEventError(ValueError):
    """Data that does not fit the message it is for; the text says where, and what would."""


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
    """Return the six fields of a `task_update`; `timestamp` travels as UTC without a zone, as documented."""
    return {
        "task_id": task_id,
        "task_run_id": task_run_id,
        "status": status,
        "task_name": task_name,
        "result_data": dict(result_data),
        "timestamp": timestamp.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds"),
    }


def as_count(value: object) -> int:
    """Return `value` if it is a number that may be added up, else 0: what others wrote into the log may be anything."""
    return value if type(value) is int and 0 <= value <= MAX_COUNT else 0


def check_event(type_: str, data: Mapping[str, Any]) -> None:
    """Let `data` through if it can be stored, decoded by every reader and fits the schema of its message.

    Raises:
        BadEventError: it does not. The schemas are those of `app.realtime.messages`.
    """
    if type_ not in EVENT_TYPES:
        raise BadEventError(f"there are no events of type {type_!r}: use one of {', '.join(EVENT_TYPES)}")
    _check_fields(_FIELDS.get(type_, ()), data, "")
    size = _size(data, "", 1)
    if size > MAX_DATA:
        raise BadEventError(f"the event has {size} bytes of data: at most {MAX_DATA} are sent to browsers")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    fits: Callable[[Any], bool]
    wanted: str
    optional: bool = False
    nullable: bool = False
    inside: tuple["_Field", ...] = ()


def _is_whole(value: object) -> bool:
    return type(value) is int


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)


def _optional(name: str, fits: Callable[[Any], bool], wanted: str, *inside: _Field) -> _Field:
    return _Field(name, fits, wanted, optional=True, nullable=True, inside=inside)


_COUNT = f"a whole number from 0 to {MAX_COUNT}"
_HOST = (_optional("host_id", _is_whole, "a whole number"), _optional("host_name", _is_text, "text"))
_WHEN = _Field(
    "timestamp",
    lambda value: _is_text(value) and _TIMESTAMP.fullmatch(value) is not None,
    "a time in UTC like 2025-06-27T15:49:26.760966",
)
_RUN = (
    _Field("task_id", _is_whole, "a whole number"),
    _Field("task_run_id", _is_whole, "a whole number"),
    _Field("task_name", _is_text, "text"),
)
_RESULT = (
    _optional("scan_id", _is_whole, "a whole number"),
    _optional(
        "verdict",
        lambda value: value in ("assessed", "not_assessed", "failed"),
        "assessed, not_assessed or failed",
    ),
    *(
        _optional(name, lambda value: type(value) is int and 0 <= value <= MAX_COUNT, _COUNT)
        for name in ("vulnerabilities", "critical", "high", "medium", "low", "unknown")
    ),
    _optional(
        "reason", _is_object, "an object", _Field("code", _is_text, "text"), _Field("sentence", _is_text, "text")
    ),
    _Field("demo", lambda value: type(value) is bool, "true or false", optional=True),
)
_FIELDS: dict[str, tuple[_Field, ...]] = {
    TASK_UPDATE: (
        *_RUN,
        _Field("status", lambda value: value in sorted(RUN_STATUSES), "queued, started, success, failed or cancelled"),
        _Field("result_data", _is_object, "an object", inside=_RESULT),
        _WHEN,
        *_HOST,
    ),
    TASK_PROGRESS: (
        *_RUN,
        _Field("phase", _is_text, "text"),
        _optional("percent", lambda value: type(value) is int and 0 <= value <= 100, "a whole number from 0 to 100"),
        _WHEN,
        *_HOST,
    ),
}


def _check_fields(fields: tuple[_Field, ...], data: Mapping[str, Any], path: str) -> None:
    for field in fields:
        if field.name not in data:
            if not field.optional:
                raise BadEventError(f"{path}{field.name} is missing: it must be {field.wanted}")
            continue
        value = data[field.name]
        if value is None and field.nullable:
            continue
        if not field.fits(value):
            raise BadEventError(f"{path}{field.name} must be {field.wanted}, not {_shown(value)}")
        _check_fields(field.inside, value, f"{path}{field.name}.") if field.inside else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _size(value: object, path: str, depth: int) -> int:
    """Return the bytes that PostgreSQL needs to spell `value`: it puts blanks after `:` and `,`, and has no exponents.

    Raises:
        BadEventError: there is something in it that JSON, its readers or PostgreSQL cannot hold.
    """
    match value:
        case None | bool():
            return 5
        case int() | float():
            if not (math.isfinite(value) and abs(value) <= MAX_NUMBER):
                raise BadEventError(f"{path} is a number that browsers cannot hold: {_shown(value)}")
            return len(format(Decimal(repr(value)), "f"))
        case str():
            return _text_size(value, path)
        case Mapping() | list() | tuple():
            if depth > MAX_DEPTH:
                raise BadEventError(f"{path} is nested deeper than {MAX_DEPTH} levels")
            if not isinstance(value, Mapping):
                return 2 + sum(2 + _size(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value))
            below = f"{path}." if path else ""
            return 2 + sum(
                4 + _text_size(key, path) + _size(item, f"{below}{key}", depth + 1) for key, item in value.items()
            )
        case _:
            raise BadEventError(f"{path} is nothing that JSON can say: {_shown(value)}")


def _text_size(value: object, path: str) -> int:
    try:
        if isinstance(value, str):
            return len(orjson.dumps(value))
    except TypeError:  # half of a surrogate pair
        pass
    raise BadEventError(f"{path or 'a name'} is no text in UTF-8: {_shown(value)}")
