import errno
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from executor.jobs import Job, Kind, ScanType, State
from executor.problems import JobFailed
from executor.results import collect
from executor.settings import Settings
from executor.targets import Target
from executor.workspace import Workspace

TARGET = Target(address="192.0.2.1", port=22, user="vuls")


def a_job(job_id: str = "run-1") -> Job:
    return Job(
        id=job_id,
        server="web-1",
        scan_type=ScanType.FAST,
        state=State.PREPARING,
        phase="preparing",
        created_at=datetime.now(UTC),
        started_at=None,
        finished_at=None,
        scan_exit=None,
        report_exit=None,
        scan_log=(),
        report_log=(),
        error_code=None,
        error_sentence=None,
        cancel_requested=False,
    )


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    settings.ssh_key.write_text("the key\n")
    settings.known_hosts.write_text("192.0.2.1 ssh-ed25519 AAAA\n")
    return Workspace(settings, "run-1")


def tree(path: Path) -> dict[str, tuple[str, int]]:
    return {
        str(entry.relative_to(path)): (oct(entry.stat().st_mode & 0o777), entry.stat().st_uid)
        for entry in sorted(path.rglob("*"))
    }


def test_everything_belongs_to_the_containers_user_alone(workspace: Workspace, settings: Settings) -> None:
    old = os.umask(0)
    try:
        workspace.prepare(a_job(), TARGET)
    finally:
        os.umask(old)
    uid = settings.uid
    assert workspace.path.stat().st_mode & 0o777 == 0o700
    assert tree(workspace.path) == {
        "passwd": ("0o644", uid),
        "report": ("0o700", uid),
        "report/config.toml": ("0o600", uid),
        "results": ("0o700", uid),
        "scan": ("0o700", uid),
        "scan/config.toml": ("0o600", uid),
        "scan/id": ("0o600", uid),
        "scan/known_hosts": ("0o600", uid),
        "scan/ssh_config": ("0o600", uid),
    }
    assert (workspace.scan_config / "id").read_text() == "the key\n"


def test_the_key_is_gone_after_the_scan_and_the_rest_after_the_job(workspace: Workspace) -> None:
    workspace.prepare(a_job(), TARGET)
    workspace.forget_key()
    assert not (workspace.path / "scan").exists()
    assert (workspace.path / "report" / "config.toml").exists()
    workspace.wipe()
    workspace.wipe()
    assert not workspace.path.exists()


def test_what_a_crash_left_is_replaced(workspace: Workspace) -> None:
    workspace.prepare(a_job(), TARGET)
    (workspace.results / "old").touch()
    workspace.prepare(a_job(), TARGET)
    assert list(workspace.results.iterdir()) == []


def test_wiping_does_not_follow_links(workspace: Workspace, tmp_path: Path) -> None:
    workspace.prepare(a_job(), TARGET)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (workspace.results / "link").symlink_to(precious)
    workspace.wipe()
    assert (precious / "file").exists()


@pytest.mark.parametrize("name", ["ssh_key", "known_hosts"])
def test_a_missing_ssh_file_fails_the_job_with_its_path(workspace: Workspace, settings: Settings, name: str) -> None:
    path: Path = getattr(settings, name)
    path.unlink()
    with pytest.raises(JobFailed) as caught:
        workspace.prepare(a_job(), TARGET)
    assert caught.value.code == "ssh_files_unreadable"
    assert str(path) in caught.value.sentence
    assert not workspace.path.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_fails_the_job_with_what_to_do(
    workspace: Workspace, settings: Settings, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path, _: bytes) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(JobFailed) as caught:
        workspace.prepare(a_job(), TARGET)
    assert caught.value.code == "disk_full"
    assert os.strerror(number) in caught.value.sentence
    assert "Make room there" in caught.value.sentence
    assert str(settings.ssh_key) not in caught.value.sentence


def test_another_error_while_writing_is_no_full_disk(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, _: bytes) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(JobFailed) as caught:
        workspace.prepare(a_job(), TARGET)
    assert caught.value.code == "storage"


def test_a_disk_that_fills_up_while_the_files_are_written_is_told_as_full(
    workspace: Workspace, settings: Settings, small_disk: Callable[[Path, int], None]
) -> None:
    small_disk(settings.jobs_dir, 16)
    tight = settings.model_copy(update={"min_free_mib": 0})
    with pytest.raises(JobFailed) as caught:
        Workspace(tight, "run-1").prepare(a_job(), TARGET)
    assert caught.value.code == "disk_full"
    assert f"{settings.jobs_dir} has 0 MiB free, a scan needs 1 MiB" in caught.value.sentence
    workspace.wipe()


def test_nothing_is_written_to_a_disk_with_too_little_room(workspace: Workspace, settings: Settings) -> None:
    demanding = settings.model_copy(update={"min_free_mib": 1 << 40})
    workspace.prepare(a_job(), TARGET)  # what a crash left makes room first
    with pytest.raises(JobFailed) as caught:
        Workspace(demanding, "run-1").prepare(a_job(), TARGET)
    assert caught.value.code == "disk_full"
    assert not workspace.path.exists()


async def test_an_assessment_has_its_result_where_vuls_looks_and_no_key(
    workspace: Workspace, settings: Settings
) -> None:
    settings.ssh_key.unlink()
    workspace.prepare(replace(a_job(), kind=Kind.ASSESS), TARGET, '{"serverName":"web-1"}')
    (run,) = workspace.results.iterdir()
    assert tree(workspace.path) == {
        "passwd": ("0o644", settings.uid),
        "report": ("0o700", settings.uid),
        "report/config.toml": ("0o600", settings.uid),
        "results": ("0o700", settings.uid),
        f"results/{run.name}": ("0o700", settings.uid),
        f"results/{run.name}/web-1.json": ("0o600", settings.uid),
        "scan": ("0o700", settings.uid),
    }
    assert await collect(workspace.results, "web-1", 1000) == '{"serverName":"web-1"}'
