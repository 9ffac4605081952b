"""Takes the result of a job out of the directory that its containers could write to.

Nothing in there is trusted: no link is followed, the size is limited while reading, before parsing.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from typing import Any, NoReturn

from executor import ends

_CHUNK = 1024 * 1024
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}[+-]\d{4}")
_NOT_REPORTED = {
    "lang": "",
    "reportedAt": "0001-01-01T00:00:00Z",
    "reportedVersion": "",
    "reportedRevision": "",
    "reportedBy": "",
}
_FOUND_BY_SCAN = ("freebsd", "raspbian")


def collect(results_dir: str | os.PathLike[str], server: str, limit: int) -> str | None:
    """Return the server's newest result as JSON text without `config`; None when Vuls wrote none.

    `config` holds addresses, users and key paths, which must not leave the host.
    Raises JobFailed when the file is larger than `limit` bytes or is not this server's result.
    """
    try:
        raw = _read(results_dir, f"{server}.json", limit)
    except OSError as error:
        raise ends.result_invalid(f"The result cannot be read ({error.strerror}).") from error
    return None if raw is None else _strip(raw, server)


def as_scanned(result: Mapping[str, Any]) -> str:
    """Return a stored result as `vuls scan` wrote it, before any report, as JSON text. Raises ValueError.

    `vuls report` takes a result for done in which a CVE has contents, but on some families it starts from the CVEs that
    the scan found (detector/util.go: needToRefreshCve, reuseScannedCves).
    """
    cves = result.get("scannedCves")
    kept = cves if result.get("family") in _FOUND_BY_SCAN and isinstance(cves, dict) else {}
    found = {name: {**cve, "cveContents": {}} for name, cve in kept.items() if isinstance(cve, dict)}
    try:
        # Sorted, so that the same result is the same text whoever kept it.
        return json.dumps(
            {**result, **_NOT_REPORTED, "scannedCves": found}, separators=(",", ":"), sort_keys=True, allow_nan=False
        )
    except RecursionError as error:
        raise ValueError("the result is nested too deeply") from error


def _read(results_dir: str | os.PathLike[str], name: str, limit: int) -> bytes | None:
    top = os.open(results_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # The names sort by time because all are of one time zone, the container's.
        runs = sorted(entry for entry in os.listdir(top) if _TIMESTAMP.fullmatch(entry))  # noqa: PTH208 (a descriptor)
        if not runs:
            return None
        run = os.open(runs[-1], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    finally:
        os.close(top)
    try:
        # Non-blocking: opening a FIFO must not wait for its other end.
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=run)
    except FileNotFoundError:
        return None
    finally:
        os.close(run)
    with os.fdopen(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ends.result_invalid("The result is not a regular file.")
        chunks, size = [], 0
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise ends.result_too_large(limit)
            chunks.append(chunk)
    return b"".join(chunks)


def _strip(raw: bytes, server: str) -> str:
    try:
        result: Any = json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ends.result_invalid("The result is not JSON; Vuls may have been cut short.") from error
    if not isinstance(result, dict) or result.get("serverName") != server:
        raise ends.result_invalid(f"The result is not that of {server}.")
    result.pop("config", None)
    return json.dumps(result, separators=(",", ":"))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
