"""Compares what a client was told with the event log."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.follower import Diary, Follower
from tests.services import Database

AROUND = 6  # entries shown on either side of a difference
LOG = """
SELECT seq, type, host_id, data->>'status', coalesce((data->'result_data'->>'critical')::int, 0)
  FROM event WHERE seq > %s ORDER BY seq
"""


@dataclass(frozen=True)
class Entry:
    """An event of the log. `alone`: it must never be merged into a digest."""

    sequence: int
    type: str
    host_id: int | None
    alone: bool


def read_log(database: Database, after: int) -> list[Entry]:
    """Return the log behind the sequence `after`, in commit order."""
    return entries(database.execute(LOG, after))


def entries(rows: Iterable[Sequence[Any]]) -> list[Entry]:
    """Return the rows of the statement `LOG`, of a driver or as text, as events."""
    return [
        Entry(int(seq), kind, int(host_id) if host_id else None, alone=status == "failed" or int(critical) > 0)
        for seq, kind, host_id, status, critical in rows
    ]


def differences(diary: Diary, updates: Sequence[Entry]) -> str | None:
    """Say where the diary first leaves the log, None if it has every update exactly once and in order."""
    at = 0
    for place, (first, last, count) in enumerate(zip(diary.first, diary.last, diary.count, strict=True)):
        if count == 0:
            if at == len(updates) or updates[at].sequence != first:
                return _show(f"event {first} was told", diary, place, updates, at)
            at += 1
            continue
        end = at
        while end < len(updates) and updates[end].sequence <= last:
            end += 1
        covered = updates[at:end]
        if not covered or covered[0].sequence < first or len(covered) != count:
            return _show(f"a digest of {count} from {first} to {last} was told", diary, place, updates, at)
        if any(entry.alone for entry in covered):
            return _show(f"the digest {first} to {last} hides what must come alone", diary, place, updates, at)
        at = end
    if at < len(updates):
        return _show("nothing more was told", diary, len(diary), updates, at)
    return None


def _show(what: str, diary: Diary, place: int, updates: Sequence[Entry], at: int) -> str:
    told = [
        f"{first}" if not count else f"{first}..{last} ({count})"
        for first, last, count in list(zip(diary.first, diary.last, diary.count, strict=True))[
            max(0, place - AROUND) : place + AROUND
        ]
    ]
    expected = [str(entry.sequence) for entry in updates[max(0, at - AROUND) : at + AROUND]]
    return f"{what}\n  expected around there: {' '.join(expected)}\n  told: {' '.join(told)}"


def check(follower: Follower, log: Sequence[Entry], may_see: Callable[[int | None], bool]) -> list[str]:
    """Return everything that is wrong with what a client was told."""
    visible = [entry for entry in log if may_see(entry.host_id)]
    wrong = list(follower.diary.problems)
    difference = differences(follower.diary, [entry for entry in visible if entry.type == "task_update"])
    if difference:
        wrong.append(difference)
    strange = set(follower.diary.progress) - {entry.sequence for entry in visible if entry.type == "task_progress"}
    if strange:
        wrong.append(f"progress that it may not see: {sorted(strange)[:10]}")
    return wrong
