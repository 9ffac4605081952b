"""What of a list of files and directories is not on a host as it should be, by one look at the host."""

import datetime as dt
import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

Entry = dict[str, Any]


def look_at(wanted: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the arguments of the module `find` that see all of the wanted paths: where to look, and for what names."""
    paths = [PurePosixPath(entry["path"]) for entry in wanted]
    return {"paths": sorted({str(path.parent) for path in paths}), "patterns": sorted({path.name for path in paths})}


def differing(wanted: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """Return the entries that a host lacks or has otherwise, with owner and group filled in.

    Args:
        wanted: path and mode of each; owner and group (root unless said otherwise); content, where it is a file.
        found: what `find` saw on the host, with SHA-256 checksums.
    """
    present = {
        entry["path"]: (
            entry["mode"],
            entry["pw_name"],
            entry["gr_name"],
            None if entry["isdir"] else entry.get("checksum") or "",
        )
        for entry in found
    }
    complete = [{"owner": "root", "group": "root", **entry} for entry in wanted]
    return [entry for entry in complete if present.get(entry["path"]) != _print(entry)]


def unread(
    wanted: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]], shown: str, mark: str = ""
) -> list[str]:
    """Return the paths of wanted files that were written after what reads them began, or read last.

    A run that was broken off between a change and its handler leaves such files, and no later run sees a change.

    Args:
        wanted: the path of each; directories do not count.
        found: what `find` saw on the host, with the time of each (seconds since the epoch).
        shown: what `systemctl show --timestamp=us+utc` says of ActiveState and of the moment that counts
            (ExecMainStartTimestamp, or StateChangeTimestamp for a unit that is reloaded), of one unit or, with an empty
            line between, of several. The active one whose moment is the first counts: others read when they start.
        mark: the path of a file that was touched when they were read in another way.

    A file of the future says nothing: it was written when the host's clock was wrong.
    """
    units = (dict(line.split("=", 1) for line in unit.splitlines() if "=" in line) for unit in shown.split("\n\n"))
    said = (_moment(unit) for unit in units if unit.get("ActiveState") == "active")
    moments = [moment for moment in said if moment is not None]
    if not moments:
        return []
    looked = list(found)
    read = max([min(moments), *(entry["mtime"] for entry in looked if entry["path"] == mark)])
    paths = {entry["path"] for entry in wanted}
    files = (entry for entry in looked if entry["path"] in paths and not entry["isdir"])
    now = time.time()
    return sorted(entry["path"] for entry in files if read < entry["mtime"] <= now)


def _moment(unit: Mapping[str, str]) -> float | None:
    """Return the moment that systemctl says of a unit, in seconds since the epoch."""
    for name, value in unit.items():
        said = value.split()  # the weekday, the date, the time, UTC
        if name.endswith("Timestamp") and len(said) == 4:
            return dt.datetime.fromisoformat(f"{said[1]}T{said[2]}+00:00").timestamp()
    return None


def _print(entry: Entry) -> tuple[str, str, str, str | None]:
    content = entry.get("content")
    digest = None if content is None else hashlib.sha256(content.encode()).hexdigest()
    return entry["mode"], entry["owner"], entry["group"], digest


class FilterModule:
    """The filters, under the names that tasks use."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"files_look_at": look_at, "files_differing": differing, "files_unread": unread}
