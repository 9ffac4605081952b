import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from executor.jobs import Job, ScanType, State
from executor.problems import JobFailed
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
