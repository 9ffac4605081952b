"""Fixtures for all of the tests."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest

from executor.settings import Settings
from tests.harness import CONTAINER_UID, DEMO_DATA, Deployment
from tests.targets import SshHost, ssh_host


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    client.ping()
    yield client
    client.close()


@pytest.fixture(scope="module")
def host(engine: docker.DockerClient) -> Iterator[SshHost]:
    with ssh_host(engine) as made:
        yield made


@pytest.fixture
def deploy() -> Iterator[Callable[..., Deployment]]:
    """Return a function that makes a deployment, which is removed at the end."""
    made: list[Deployment] = []

    def make(**settings: object) -> Deployment:
        made.append(Deployment(**settings))
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, int], None]]:
    """Return a function that puts a file system of so many KiB at a path; to request after `deploy`."""
    with ExitStack() as mounted:

        def mount(path: Path, kib: int) -> None:
            path.mkdir(parents=True, exist_ok=True)
            command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=0700", "tmpfs", str(path)]
            if subprocess.run(command, check=False, capture_output=True).returncode:
                pytest.skip("only root may mount")
            mounted.callback(subprocess.check_call, ["umount", "--lazy", str(path)])

        yield mount


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return where a database is in place, made of the demo data `base`."""
    (tmp_path / "db").mkdir()
    return Path(shutil.copy(DEMO_DATA / "base.db", tmp_path / "db" / "vuls.db"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings below the test's own directory."""
    values: dict[str, Any] = {
        "state_dir": tmp_path,
        "targets": tmp_path / "targets.json",
        "ssh_key": tmp_path / "id_ed25519",
        "known_hosts": tmp_path / "known_hosts",
        "database": tmp_path / "vuls.db",
        "container_uid": CONTAINER_UID,
    }
    made = Settings(**values)
    made.jobs_dir.mkdir()
    return made
