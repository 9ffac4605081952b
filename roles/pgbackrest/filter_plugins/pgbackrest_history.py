"""Which timeline a restore is to follow, and from which backup: by what the archive says of its histories.

PostgreSQL follows the newest timeline unless it is told otherwise. After a restore to a moment, a later moment of the
history that was left is not on that one: recovery would leave the old timeline where the first restore did, and end
there as if the moment were reached. https://www.postgresql.org/docs/current/continuous-archiving.html (Timelines)
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# The parent, where it was left, and why; access/transam/timeline.c writes it, xlogrecovery.c has the reasons.
FORK = re.compile(r"^(?P<parent>\d+)\s+(?P<high>[0-9A-Fa-f]+)/(?P<low>[0-9A-Fa-f]+)\s*(?P<reason>.*)$")
NAME = re.compile(r"^(?P<timeline>[0-9A-F]{8})\.history$")


class Part(NamedTuple):
    """What a history takes from one timeline: up to which position, and before which commit where that is known."""

    timeline: int
    end: float
    before: dt.datetime | None = None


def position(said: str) -> int:
    """Return a position in the WAL ("0/6026B98") as a number."""
    high, low = said.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def moment(said: str) -> dt.datetime | None:
    """Return a time of PostgreSQL's ("2026-11-30 10:15:00+00"); None where it is none, or has no offset."""
    try:
        read = dt.datetime.fromisoformat(said.strip())
    except ValueError:
        return None
    return read if read.tzinfo else None


def parts(timeline: int, text: str) -> list[Part]:
    """Return the history of a timeline, oldest part first, from the text of its history file; the first has none."""
    found = []
    for line in text.splitlines():
        if fork := FORK.match(line):
            reason, _, when = fork["reason"].partition(" ")
            found.append(
                Part(
                    int(fork["parent"]),
                    position(f"{fork['high']}/{fork['low']}"),
                    moment(when) if reason == "before" else None,
                )
            )
    return [*found, Part(timeline, float("inf"))]


def _in_use(
    known: Iterable[tuple[float, int]], histories: Mapping[int, list[Part]], newest: int, wanted: dt.datetime | None
) -> int:
    """Return the timeline that leads to the moment, or to the end, by the times at which each was seen in use."""
    seen = sorted(known)
    last = max(seen, default=(0.0, newest))[1]
    if wanted is None:
        return last
    then = max((entry for entry in seen if entry[0] <= wanted.timestamp()), default=(0.0, last))[1]
    for part in histories[last][:-1]:
        if part.timeline == then and (part.before is None or wanted < part.before):
            return last
    return then


def pgbackrest_followed(
    info: Mapping[str, Any],
    listing: Mapping[str, Mapping[str, Any]],
    texts: Mapping[str, str],
    to: str = "",
    label: str = "",
) -> dict[str, Any]:
    """Return which timeline a restore is to follow, and from which backup.

    A timeline was in use from when its history file was archived, or a backup of it was made, until another was. The
    moment is looked for in the history that was in use then; the newest timeline leads there too unless it left that
    history at an earlier moment, or is not of it.

    Args:
        info: what `pgbackrest --output=json info` says of the stanza.
        listing: what `pgbackrest --output=json repo-ls` says of the archive's directory: time (seconds since the epoch)
            of each file by name.
        texts: the history files by name.
        to: a moment with its offset from UTC, "2026-11-30 10:15:00+00"; empty: as late as the archive goes.
        label: the backup that was asked for; empty: the newest that fits.

    Returns:
        timeline, newest (numbers of timelines), set (label of the backup) and refused: why there is no way, or empty.

    """
    began = {int(name["timeline"], 16): entry["time"] for file, entry in listing.items() if (name := NAME.match(file))}
    newest = max(began, default=1)
    answer = {"timeline": newest, "newest": newest, "set": "", "refused": ""}
    wanted = moment(to) if to else None
    if to and wanted is None:
        return {**answer, "refused": f"{to} is no time with an offset from UTC"}
    current = info["archive"][-1]["database"]["id"] if info.get("archive") else None
    backups = [entry for entry in info.get("backup", []) if entry["database"]["id"] == current]
    taken = {entry["label"]: int(entry["archive"]["start"][:8], 16) for entry in backups}
    newest = max([newest, *taken.values()])
    numbers = {1, newest, *began, *taken.values()}
    histories = {number: parts(number, texts.get(f"{number:08X}.history", "")) for number in numbers}
    known = [(float(time), number) for number, time in began.items()]
    known += [(float(entry["timestamp"]["stop"]), taken[entry["label"]]) for entry in backups]
    timeline = _in_use(known, histories, newest, wanted)
    answer |= {"timeline": timeline, "newest": newest}
    ends = {part.timeline: part.end for part in histories[timeline]}
    # pgBackRest writes down whole seconds.
    latest = wanted.timestamp() // 1 if wanted else float("inf")
    fits = {
        entry["label"]: entry["timestamp"]["stop"]
        for entry in backups
        if entry["timestamp"]["stop"] < latest and position(entry["lsn"]["stop"]) <= ends.get(taken[entry["label"]], -1)
    }
    if label in fits or (not label and fits):
        return {**answer, "set": label or max(fits, key=lambda one: (fits[one], one))}
    asked = f"the backup {label} is not" if label else "no backup is"
    return {
        **answer,
        "refused": f"{asked} from before {to or 'the end of the archive'} in the history of timeline {timeline}, "
        f"which was in use then; these are: {', '.join(fits) or 'none'}",
    }


class FilterModule:
    """The filter, under the name that tasks use."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"pgbackrest_followed": pgbackrest_followed}
