"""What is shed when much happens at once: older progress, and details of what needs nobody's attention."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.cursor import Cursor
from app.domain.envelope import FINDINGS_CHANGED, TASK_PROGRESS, TASK_UPDATE, StoredEvent
from app.domain.messages import MAX_COUNT

STATUSES = ("queued", "started", "success", "cancelled")  # those that may be merged; a failure comes alone
VERDICTS = ("assessed", "not_assessed")
SEVERITIES = ("high", "medium", "low", "unknown")  # a critical finding comes alone
CHANGES = ("new", "fixed", "reappeared", "severity_changed")
_FINAL = ("success", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Digest:
    """Stands for the updates and changed findings behind `since` up to `until`.

    `counts` has a number for each of the names above; `changed` is how many hosts' findings changed.
    """

    since: Cursor
    until: Cursor
    counts: dict[str, int]


def may_be_merged(event: StoredEvent) -> bool:
    """Tell whether an update may be counted instead of shown: nothing failed, nothing critical was found."""
    if event.type != TASK_UPDATE or event.data.get("status") not in STATUSES or _run_id(event) is None:
        return False
    return not _result(event).get("critical")


def is_urgent(event: StoredEvent) -> bool:
    """Tell whether an event goes out at once, as it is and in its place: neither merged nor left out."""
    return event.type != TASK_PROGRESS and not may_be_merged(event) and not _is_calm_change(event)


def latest_progress(events: Sequence[StoredEvent]) -> list[StoredEvent]:
    """Return `events` without progress that a later one of the same run makes pointless."""
    told: set[int] = set()
    kept = []
    for event in reversed(events):
        run_id = _run_id(event)
        if run_id is not None:
            if event.type == TASK_PROGRESS:
                if run_id in told:
                    continue
                told.add(run_id)
            elif event.type == TASK_UPDATE and event.data.get("status") in _FINAL:
                told.add(run_id)
        kept.append(event)
    kept.reverse()
    return kept


def condense(events: Sequence[StoredEvent], at_least: float) -> list[StoredEvent | Digest]:
    """Return `events` with a digest for every `at_least` or more updates in a row that may be merged.

    Changed findings among them are counted too. Only the latest progress of a run stays, and none within a digest.
    Order is kept: whoever has got one item has got everything up to its cursor.
    """
    condensed: list[StoredEvent | Digest] = []
    row: list[StoredEvent] = []
    for event in latest_progress(events):
        if is_urgent(event):
            condensed += _merged(row, at_least)
            condensed.append(event)
            row = []
        else:
            row.append(event)
    return condensed + _merged(row, at_least)


# What our own code stores fits the schema; a worker's database role can store what it likes, and must not stop readers.
def _run_id(event: StoredEvent) -> int | None:
    run_id = event.data.get("task_run_id")
    return run_id if type(run_id) is int else None


def _result(event: StoredEvent) -> Mapping[str, Any]:
    result = event.data.get("result_data")
    return result if isinstance(result, Mapping) else {}


def _is_calm_change(event: StoredEvent) -> bool:
    """Tell whether findings changed, and none of them became critical."""
    kinds = [event.data.get(name) for name in ("new", "reappeared", "severity_changed")]
    calm = (isinstance(kind, Mapping) and not kind.get("critical") for kind in kinds)
    return event.type == FINDINGS_CHANGED and all(calm)


def _total(kind: object) -> int:
    return _as_count(kind.get("total")) if isinstance(kind, Mapping) else 0


def _as_count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= MAX_COUNT else 0


def _merged(row: Sequence[StoredEvent], at_least: float) -> list[StoredEvent | Digest]:
    if sum(may_be_merged(event) for event in row) < at_least:
        return list(row)
    places = [place for place, event in enumerate(row) if event.type != TASK_PROGRESS]
    first, last = places[0], places[-1]
    digest = _count([row[place] for place in places])
    return [*row[:first], digest, *row[last + 1 :]]


def _count(events: Sequence[StoredEvent]) -> Digest:
    names = ("events", *STATUSES, *VERDICTS, "vulnerabilities", *SEVERITIES, "changed", *CHANGES)
    counts = dict.fromkeys(names, 0)
    for event in events:
        if event.type == FINDINGS_CHANGED:
            counts["changed"] += 1
            for name in CHANGES:
                counts[name] += _total(event.data.get(name))
            continue
        result = _result(event)
        counts["events"] += 1
        counts[event.data["status"]] += 1
        if result.get("verdict") in VERDICTS:
            counts[result["verdict"]] += 1
        for name in ("vulnerabilities", *SEVERITIES):
            counts[name] += _as_count(result.get(name))
    counts["hosts"] = len({event.host_id for event in events} - {None})
    first = events[0].cursor
    return Digest(Cursor(first.epoch, first.sequence - 1), events[-1].cursor, counts)
