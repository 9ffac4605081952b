"""What changed on a host from one assessed scan to the next. Scans that assessed nothing do not count."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.domain.severity import Severity

MAX_ID = 64  # characters
MAX_IDS = 100  # of a kind that an event names; four kinds of the longest ids stay below the limit of an event's data


class Change(StrEnum):
    """What an assessed scan did to a finding. A host's first one is what the others are compared with: `baseline`."""

    BASELINE = "baseline"
    NEW = "new"
    REAPPEARED = "reappeared"
    SEVERITY_CHANGED = "severity_changed"
    FIXED = "fixed"


# Those that an event tells of.
TOLD = (Change.NEW, Change.FIXED, Change.SEVERITY_CHANGED, Change.REAPPEARED)


@dataclass(frozen=True, slots=True)
class Changed:
    """One finding that changed. `severity` is that of now, of a fixed one the last it had."""

    cve_id: str
    change: Change
    severity: Severity
    before: Severity | None = None


def difference(
    previous: Mapping[str, Severity] | None, found: Mapping[str, Severity], known: Collection[str]
) -> list[Changed]:
    """Return what changed from the assessed scan before to this one, in order of the ids.

    Args:
        previous: severity by CVE of the assessed scan before; None when there was none.
        found: the same of this scan.
        known: CVEs that the host has had at any time.
    """
    if previous is None:
        return [Changed(cve_id, Change.BASELINE, severity) for cve_id, severity in sorted(found.items())]
    return list(_changes(previous, found, known))


def _changes(
    previous: Mapping[str, Severity], found: Mapping[str, Severity], known: Collection[str]
) -> Iterator[Changed]:
    for cve_id in sorted(previous.keys() | found.keys()):
        before, now = previous.get(cve_id), found.get(cve_id)
        if now is None:
            yield Changed(cve_id, Change.FIXED, previous[cve_id])
        elif before is None:
            yield Changed(cve_id, Change.REAPPEARED if cve_id in known else Change.NEW, now)
        elif before != now:
            yield Changed(cve_id, Change.SEVERITY_CHANGED, now, before)


def summary(changes: Collection[Changed]) -> dict[str, Any]:
    """Return what an event says: for each kind the counts by severity, which are exact, and the ids of the worst."""
    return {str(kind): _summary_of([one for one in changes if one.change is kind]) for kind in TOLD}


def is_worth_telling(changes: Collection[Changed]) -> bool:
    """Tell whether there is anything that an event would say."""
    return any(one.change in TOLD for one in changes)


def _summary_of(changes: Collection[Changed]) -> dict[str, Any]:
    counts = Counter(one.severity for one in changes)
    rank = {severity: place for place, severity in enumerate(Severity)}
    worst_first = sorted(changes, key=lambda one: (rank[one.severity], one.cve_id))
    return {
        "total": len(changes),
        **{str(severity): counts[severity] for severity in Severity},
        # An earlier release also stored what is none, of any length.
        "cve_ids": [one.cve_id for one in worst_first if len(one.cve_id) <= MAX_ID][:MAX_IDS],
    }
