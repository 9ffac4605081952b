"""Room on the scan host's disk: how much there is, how a lack of it shows, and what is said then."""

import errno
import os
import sqlite3
from pathlib import Path

from executor.problems import JobFailed
from executor.settings import MIB, Settings

CODE = "disk_full"
_NO_ROOM = MIB
"""With fewer bytes than this left, whatever broke while it wrote is taken to have broken for that."""
_BLOCK = 512  # bytes of what stat(2) counts, whatever the file system's own are
_FULL = {errno.ENOSPC, errno.EDQUOT}
_SQLITE_PRIMARY = 0xFF  # of an extended result code; https://sqlite.org/rescode.html


def check(settings: Settings) -> None:
    """Raise JobFailed when there is less room than a job shall find. Raises OSError."""
    if _free(_tightest(settings)) < settings.min_free:
        raise failure(settings, "The scan was not started.")


def has_no_room(settings: Settings) -> bool:
    """Whether next to nothing can be written any more. Raises OSError."""
    return _free(_tightest(settings)) < _NO_ROOM


def check_job(settings: Settings, directory: Path) -> None:
    """Raise JobFailed when what lies in the directory of a job takes more room, or is more files, than a job may have.

    The programs of the job write there meanwhile. What cannot be looked at, as a path that is too long or a directory
    that was closed, hides something, as Vuls makes none of that.
    """
    room, files, waiting = 0, 0, [directory]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    room, files = room + found.st_blocks * _BLOCK, files + 1
                    if room > settings.job_disk or files > settings.job_files:
                        raise _too_large(settings)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed meanwhile
        except OSError as error:
            raise _too_large(settings) from error


def _too_large(settings: Settings) -> JobFailed:
    return JobFailed(
        "job_too_large",
        f"The files of the scan took more than {settings.job_disk // MIB} MiB (VULS_EXECUTOR_JOB_DISK_MIB) or were more"
        f" than {settings.job_files} (VULS_EXECUTOR_JOB_FILES), so it was ended and they were removed. Run the scan"
        " again. If it ends the same way, find out why the server makes Vuls write that much; raise the limit only for"
        " one that is known to need it.",
    )


def is_full(error: OSError) -> bool:
    """Whether a write failed for lack of room: of blocks, of inodes or of quota."""
    return error.errno in _FULL


def has_filled_store(settings: Settings, error: sqlite3.Error) -> bool:
    """Whether SQLite failed for lack of room. It calls a full quota an I/O error like any other."""
    code = getattr(error, "sqlite_errorcode", 0) & _SQLITE_PRIMARY
    return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and has_no_room(settings))


def failure(settings: Settings, outcome: str) -> JobFailed:
    """Return what ends a job for lack of room."""
    return JobFailed(CODE, sentence(settings, outcome))


def sentence(settings: Settings, outcome: str) -> str:
    """Return what happened, what came of it (`outcome`, a sentence) and what to do. Raises OSError."""
    place = _tightest(settings)
    needed = max(settings.min_free, _NO_ROOM)
    return (
        f"The disk of the scan host is too full: {place} has {_free(place) // MIB} MiB free, a scan needs"
        f" {needed // MIB} MiB. {outcome} Make room there (look at df -h and df -i), then run the scan again."
    )


def _tightest(settings: Settings) -> Path:
    """Return the directory with the least room; the jobs' may be a file system of its own."""
    return min(settings.state_dir, settings.jobs_dir, key=_free)


def _free(directory: Path) -> int:
    """Return how many bytes a user other than root can still write."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
