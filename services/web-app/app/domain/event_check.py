"""What may be stored as an event: what every reader decodes, every client can be sent, and the schema allows."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from app.domain.envelope import EVENT_TYPES, FINDINGS_CHANGED, TASK_PROGRESS, TASK_UPDATE
from app.domain.messages import FindingsChangedData, TaskProgressData, TaskUpdateData

MAX_DATA = 32 * 1024  # bytes of an event's data, as PostgreSQL spells it; its CHECK ends at twice that
MAX_DEPTH = 16  # objects and lists within each other; the CHECK ends at twice that, encoders at 254
MAX_NUMBER = 2**53 - 1  # beyond it a browser rounds

_MODELS: dict[str, type[BaseModel]] = {
    TASK_UPDATE: TaskUpdateData,
    TASK_PROGRESS: TaskProgressData,
    FINDINGS_CHANGED: FindingsChangedData,
}


class BadEventError(ValueError):
    """Data that does not fit the message it is for; the text says where, and what would."""


def check_event(type_: str, data: Mapping[str, Any]) -> None:
    """Let `data` through if it can be stored, decoded by every reader and fits the schema of its message.

    Raises:
        BadEventError: it does not.
    """
    if type_ not in EVENT_TYPES:
        raise BadEventError(f"there are no events of type {type_!r}: use one of {', '.join(EVENT_TYPES)}")
    size = _size(data, "", 1)
    if size > MAX_DATA:
        raise BadEventError(f"the event has {size} bytes of data: at most {MAX_DATA} are sent to browsers")
    model = _MODELS.get(type_)
    if model is None:
        return
    try:
        model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadEventError(f"{place}: {first['msg']}, not {_shown(first['input'])}") from error


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
