"""Rows of the event log that no reader could be given: passed over by everybody, with a line in the log."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import orjson
from pydantic import ValidationError

from app.domain.envelope import (
    EVENT_TYPES,
    FINDINGS_CHANGED,
    TASK_PROGRESS,
    TASK_UPDATE,
    UNREADABLE,
    StoredEvent,
    envelope,
)
from app.domain.messages import FindingsChanged, TaskProgress, TaskUpdate

_MODELS: dict[str, type[TaskUpdate | TaskProgress | FindingsChanged]] = {
    TASK_UPDATE: TaskUpdate,
    TASK_PROGRESS: TaskProgress,
    FINDINGS_CHANGED: FindingsChanged,
}
log = logging.getLogger(__name__)


def sound(events: Sequence[StoredEvent]) -> list[StoredEvent]:
    """Return `events` with those made `UNREADABLE` that do not fit the protocol.

    Whoever may write to the log could write anything; one such row must not end the feed, nor reach a client. It keeps
    its cursor, so that reading goes on behind it.
    """
    return [event if _fits(event) else replace(event, type=UNREADABLE, data={}) for event in events]


def _fits(event: StoredEvent) -> bool:
    problem = "not to be decoded" if event.type == UNREADABLE else f"of the unknown type {event.type[:40]!r}"
    try:
        message = envelope(event)
        orjson.dumps(message)
        if event.type in _MODELS:
            _MODELS[event.type].model_validate(message)
        # One without a model is of a later release: clients pass over what they do not know.
        if event.type in EVENT_TYPES:
            return True
    except ValidationError as error:
        problem = f"wrong at {', '.join(sorted({'.'.join(map(str, item['loc'])) for item in error.errors()})[:5])}"
    except (TypeError, ValueError, RecursionError) as error:
        problem = f"not to be encoded ({error})"
    log.error("Passed over %s in the event log: it is %s. Nobody is told of it.", event.cursor, problem)
    return False
