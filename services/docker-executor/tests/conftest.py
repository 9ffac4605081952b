"""Fixtures for all of the tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.settings import Settings
from tests.harness import CONTAINER_UID, Deployment


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
