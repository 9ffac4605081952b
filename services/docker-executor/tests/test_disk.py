import errno
import os
import sqlite3
from pathlib import Path

import pytest

from executor import disk
from executor.problems import JobFailed
from executor.settings import MIB, Settings


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
    """Return the bytes that each directory has left, to be changed."""
    left: dict[Path, int] = {}
    real = os.statvfs

    def statvfs(path: Path) -> os.statvfs_result:
        block, kept_for_root = 512, 10_000
        blocks = left[path] // block
        return os.statvfs_result((4096, block, 1 << 40, blocks + kept_for_root, blocks, *real(path)[5:]))

    monkeypatch.setattr(os, "statvfs", statvfs)
    return left


@pytest.mark.parametrize(
    ("state", "jobs", "needed", "named"),
    [
        (255 * MIB, 999 * MIB, 256, "state_dir"),
        (999 * MIB, 256 * MIB - 512, 256, "jobs_dir"),
        (0, 0, 1, "state_dir"),
    ],
)
def test_a_lack_of_room_is_told_with_place_and_numbers(
    settings: Settings, room: dict[Path, int], state: int, jobs: int, needed: int, named: str
) -> None:
    room.update({settings.state_dir: state, settings.jobs_dir: jobs})
    with pytest.raises(JobFailed) as caught:
        disk.check(settings.model_copy(update={"min_free_mib": needed}))
    assert caught.value.code == "disk_full"
    assert caught.value.sentence == (
        f"The disk of the scan host is too full: {getattr(settings, named)} has {min(state, jobs) // MIB} MiB free,"
        f" a scan needs {needed} MiB. The scan was not started. Make room there (look at df -h and df -i), then run the"
        " scan again."
    )


@pytest.mark.parametrize(("free", "needed"), [(256 * MIB, 256), (0, 0)])
def test_just_enough_is_enough(settings: Settings, room: dict[Path, int], free: int, needed: int) -> None:
    room.update({settings.state_dir: free, settings.jobs_dir: free})
    disk.check(settings.model_copy(update={"min_free_mib": needed}))


@pytest.mark.parametrize(("free", "none"), [(0, True), (MIB - 512, True), (MIB, False)])
def test_less_than_a_mebibyte_is_no_room(settings: Settings, room: dict[Path, int], free: int, *, none: bool) -> None:
    room.update({settings.state_dir: 999 * MIB, settings.jobs_dir: free})
    assert disk.has_no_room(settings) is none


@pytest.mark.parametrize(
    ("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EACCES, False), (errno.EIO, False)]
)
def test_a_full_disk_and_a_full_quota_are_told_from_other_errors(number: int, *, full: bool) -> None:
    assert disk.is_full(OSError(number, "x")) is full


@pytest.mark.parametrize(
    ("code", "free", "full"),
    [
        (sqlite3.SQLITE_FULL, 999 * MIB, True),
        (sqlite3.SQLITE_IOERR_WRITE, 0, True),
        (sqlite3.SQLITE_IOERR_WRITE, 999 * MIB, False),
        (sqlite3.SQLITE_BUSY, 0, False),
        (None, 0, False),
    ],
)
def test_a_full_store_is_told_from_a_broken_one(
    settings: Settings, room: dict[Path, int], code: int | None, free: int, *, full: bool
) -> None:
    room.update({settings.state_dir: free, settings.jobs_dir: free})
    error = sqlite3.OperationalError("x")
    if code is not None:
        error.sqlite_errorcode = code
    assert disk.has_filled_store(settings, error) is full
