"""What of a list of files and directories is not on a host as it should be, by one look at the host."""

import hashlib
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


def _print(entry: Entry) -> tuple[str, str, str, str | None]:
    content = entry.get("content")
    digest = None if content is None else hashlib.sha256(content.encode()).hexdigest()
    return entry["mode"], entry["owner"], entry["group"], digest


class FilterModule:
    """The filters, under the names that tasks use."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"files_look_at": look_at, "files_differing": differing}
