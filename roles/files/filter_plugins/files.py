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
        shown: what `systemctl show --timestamp=us+utc` says of one unit or, with an empty line between, of several. Of
            the active ones that counts which began first: ExecMainStartTimestamp or, where it is asked for, the last
            change of its state, which a reload is, unless that failed.
        mark: the path of a file that was touched when they were read in another way.

    What belongs to a unit itself is unread, too, while systemd says that it has not read it. A file of the future (by
    the controller's clock) says nothing before its time: it was written when the host's clock was wrong.
    """
    units = [dict(line.split("=", 1) for line in unit.splitlines() if "=" in line) for unit in shown.split("\n\n")]
    active = [unit for unit in units if unit.get("ActiveState") == "active"]
    moments = [moment for unit in active if (moment := _moment(unit)) is not None]
    if not moments:
        return []
    looked = list(found)
    read = max([min(moments), *(entry["mtime"] for entry in looked if entry["path"] == mark)])
    paths = {entry["path"] for entry in wanted}
    files = [entry for entry in looked if entry["path"] in paths and not entry["isdir"]]
    now = time.time()
    late = {entry["path"] for entry in files if read < entry["mtime"] <= now}
    if any(unit.get("NeedDaemonReload") == "yes" for unit in active):
        late |= {entry["path"] for entry in files if entry["path"].startswith("/etc/systemd/system/")}
    return sorted(late)


def _moment(unit: Mapping[str, str]) -> float | None:
    """Return when a unit read its files last, in seconds since the epoch."""
    reloaded = unit.get("StateChangeTimestamp", "") if unit.get("ReloadResult", "success") == "success" else ""
    said = (reloaded or unit.get("ExecMainStartTimestamp", "")).split()  # the weekday, the date, the time, UTC
    return dt.datetime.fromisoformat(f"{said[1]}T{said[2]}+00:00").timestamp() if len(said) == 4 else None


def _print(entry: Entry) -> tuple[str, str, str, str | None]:
    content = entry.get("content")
    digest = None if content is None else hashlib.sha256(content.encode()).hexdigest()
    return entry["mode"], entry["owner"], entry["group"], digest


class FilterModule:
    """The filters, under the names that tasks use."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"files_look_at": look_at, "files_differing": differing, "files_unread": unread}
