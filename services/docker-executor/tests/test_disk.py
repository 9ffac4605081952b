import errno
import os
import sqlite3
from pathlib import Path

import pytest
from docker.errors import APIError

from executor import disk
from executor.engine import Engine
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


def lay_out(directory: Path, *, large: int = 0, many: int = 0, nested: int = 0) -> None:
    """Write a file of some KiB, some empty files, and directories in each other."""
    if large:
        (directory / "large").write_bytes(b"x" * large * 1024)
    for number in range(many):
        (directory / f"file-{number}").touch()
    for _ in range(nested):
        directory /= "d" * 200
        directory.mkdir()


@pytest.mark.parametrize(
    ("content", "too_large"),
    [
        ({}, False),
        ({"large": 1000, "many": 10}, False),
        ({"large": 1028}, True),
        ({"many": 16}, False),
        ({"many": 17}, True),
        ({"nested": 10, "large": 900}, False),
        ({"nested": 17}, True),
    ],
    ids=str,
)
def test_a_job_has_its_share_of_the_disk(
    settings: Settings, tmp_path: Path, content: dict[str, int], *, too_large: bool
) -> None:
    small = settings.model_copy(update={"job_disk_mib": 1, "job_files": 16})
    (tmp_path / "job").mkdir()
    lay_out(tmp_path / "job", **content)
    if not too_large:
        disk.check_job(small, tmp_path / "job")
        return
    with pytest.raises(JobFailed, match=r"more than 1 MiB .* or were more than 16 .* Run the scan again") as caught:
        disk.check_job(small, tmp_path / "job")
    assert caught.value.code == "job_too_large"


def test_links_are_not_followed_and_holes_take_no_room(settings: Settings, tmp_path: Path) -> None:
    small = settings.model_copy(update={"job_disk_mib": 1})
    (tmp_path / "job").mkdir()
    (tmp_path / "elsewhere").mkdir()
    lay_out(tmp_path / "elsewhere", large=2048)
    (tmp_path / "job" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "job" / "hole").touch()
    os.truncate(tmp_path / "job" / "hole", 64 * MIB)
    disk.check_job(small, tmp_path / "job")


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG])
def test_what_cannot_be_looked_at_is_too_large(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(JobFailed) as caught:
        disk.check_job(settings, tmp_path)
    assert caught.value.code == "job_too_large"


def test_a_directory_that_goes_away_is_no_error(settings: Settings, tmp_path: Path) -> None:
    disk.check_job(settings, tmp_path / "gone")


def test_a_job_may_take_four_results_where_nothing_else_is_set(settings: Settings) -> None:
    assert settings.model_copy(update={"result_limit_mib": 100}).job_disk == 400 * MIB
    assert settings.model_copy(update={"job_disk_mib": 3}).job_disk == 3 * MIB


@pytest.mark.parametrize(
    ("explanation", "code"),
    [
        ("mkdir /var/lib/docker/overlay2/x: no space left on device", "disk_full"),
        ("No Space Left On Device", "disk_full"),
        ("no such network", "engine_refused"),
        (None, "engine_refused"),
    ],
)
def test_a_full_disk_of_the_engine_is_told_as_that(settings: Settings, explanation: str | None, code: str) -> None:
    with pytest.raises(JobFailed) as caught, Engine(settings)._translated():
        raise APIError("refused", explanation=explanation)
    assert caught.value.code == code
    assert ("Make room there" in caught.value.sentence) == (code == "disk_full")
