"""Takes the result of a job out of the directory that its containers could write to.

Nothing in there is trusted: no link is followed, and a process with limits of its own reads the file.
"""

import asyncio
import json
import os
import re
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from executor import ends, result_filter
from executor.problems import JobFailed
from executor.result_filter import Refusal

FILTER_SECONDS = 60
"""By the clock; the filter's own limit counts the seconds that it works."""
_WORD = "The result of {server} takes more memory or time to read than any real one."
_WORDS: dict[int, str] = {
    Refusal.NOT_JSON: "The result of {server} is not JSON, or not whole: Vuls may have been cut short.",
    Refusal.OTHER_SERVER: "The result is not that of {server}.",
    Refusal.TOO_MANY_VALUES: "The result of {server} has more values than any real one of its size.",
    Refusal.NUMBER: "The result of {server} has a number that no program here can hold.",
}
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}[+-]\d{4}")
_NOT_REPORTED = {
    "lang": "",
    "reportedAt": "0001-01-01T00:00:00Z",
    "reportedVersion": "",
    "reportedRevision": "",
    "reportedBy": "",
}
_FOUND_BY_SCAN = ("freebsd", "raspbian")


async def collect(results_dir: str | os.PathLike[str], server: str, limit: int) -> str | None:
    """Return the server's newest result as JSON text without `config`; None when Vuls wrote none.

    `config` holds addresses, users and key paths, which must not leave the host. A process of its own parses the file
    (`result_filter`); it ends with the caller's wish where that is cancelled.
    Raises JobFailed when the file is larger than `limit` bytes or is not this server's result.
    """
    try:
        file = await asyncio.to_thread(_open, results_dir, f"{server}.json")
    except OSError as error:
        raise ends.result_invalid(f"The result cannot be read ({error.strerror}).") from error
    if file is None:
        return None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ends.result_invalid("The result is not a regular file.")
        status, text = await _filtered(file, server, limit)
    finally:
        os.close(file)
    if status != 0:
        raise _refused(status, server, limit)
    return text.decode()


async def _filtered(file: int, server: str, limit: int) -> tuple[int, bytes]:
    """Return exit status and output of the filter."""
    command = (sys.executable, "-I", result_filter.__file__, server, str(limit))
    filtering = await asyncio.create_subprocess_exec(
        *command, stdin=file, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    text = b""
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(FILTER_SECONDS):
                text, _ = await filtering.communicate()
    finally:
        if filtering.returncode is None:
            filtering.kill()
        status = await filtering.wait()
    return status, text


def _refused(status: int, server: str, limit: int) -> JobFailed:
    """Return what ends the job whose result the filter refused."""
    if status == Refusal.TOO_LARGE:
        return ends.result_too_large(limit)
    return ends.result_invalid(_WORDS.get(status, _WORD).format(server=server))


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


def _open(results_dir: str | os.PathLike[str], name: str) -> int | None:
    """Open the newest file with the name, whatever it is; None where there is none. Raises OSError."""
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
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=run)
    except FileNotFoundError:
        return None
    finally:
        os.close(run)
