"""A deployment before a real host, and what is at the engine because of it."""

import asyncio
import shutil
import subprocess

import docker
from docker.models.containers import Container

from executor.settings import Settings
from tests.harness import DEMO_DATA, Deployment, wait_until
from tests.targets import SshHost


def for_host(deployment: Deployment, host: SshHost) -> Deployment:
    """Prepare a deployment whose one target is the real host, with demo data for a database."""
    deployment.targets({"web-1": host.target})
    deployment.known_hosts(host.known_hosts)
    key = deployment.path / "id_ed25519"
    key.write_text(host.private_key)
    key.chmod(0o600)
    database = deployment.path / "db" / "demo-db"
    shutil.copytree(DEMO_DATA / "base", database)
    subprocess.run(["chmod", "-R", "a+rX", database], check=True)
    deployment.settings["database"] = database
    return deployment


def settings_of(deployment: Deployment) -> Settings:
    """Return the settings as the executor reads them."""
    return Settings.model_validate(deployment.settings)


def containers_of(engine: docker.DockerClient, deployment: Deployment) -> list[Container]:
    """Return the containers that the executor made and has not removed."""
    instance = settings_of(deployment).instance
    return engine.containers.list(all=True, filters={"label": f"vuls-live.executor={instance}"}, ignore_removed=True)


def nothing_is_left(engine: docker.DockerClient, deployment: Deployment) -> bool:
    """Tell whether neither a container nor a directory of a job is there."""
    return not containers_of(engine, deployment) and not list((deployment.state_dir / "jobs").iterdir())


async def leaves_nothing(engine: docker.DockerClient, deployment: Deployment, seconds: float = 15) -> None:
    """Fail unless nothing is left within so many seconds."""
    await asyncio.to_thread(wait_until, lambda: nothing_is_left(engine, deployment), seconds)
