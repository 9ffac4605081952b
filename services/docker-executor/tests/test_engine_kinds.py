"""Checks and assessments on the real engine, with the real Vuls image and real hosts."""

import asyncio
import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
from docker.models.containers import Container

from tests.harness import DEMO_DATA, ENDS, RECORDINGS, Deployment, wait_for, wait_until
from tests.scene import containers_of, for_host, leaves_nothing
from tests.targets import SshHost, silent_host

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
CHECK = {"job_id": "run-1", "server": "web-1"}
FOREIGN_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFq2JfKlQ8tYd4M0yIYq9r4T1dyBbwVZc2cKxJYlJrlC"


@pytest.fixture
def executor(engine: docker.DockerClient, host: SshHost, deploy: Callable[..., Deployment]) -> Iterator[Deployment]:
    deployment = for_host(deploy(), host)
    yield deployment
    if deployment.process is not None:
        deployment.stop(signal.SIGKILL)
    for container in containers_of(engine, deployment):
        container.remove(force=True)


@pytest.fixture
def silent() -> Iterator[dict[str, object]]:
    with silent_host() as target:
        yield target


def recorded(name: str) -> dict[str, Any]:
    """Return a recorded result as it is stored: of the server web-1, and without `config`."""
    (path,) = (RECORDINGS / name / "results").rglob("t1.json")
    result: dict[str, Any] = json.loads(path.read_text())
    del result["config"]
    return result | {"serverName": "web-1"}


def use_data(deployment: Deployment, data: str) -> None:
    """Put other demo data in the place of the database."""
    database = deployment.path / "db" / "demo-db"
    shutil.rmtree(database)
    shutil.copytree(DEMO_DATA / data, database)
    subprocess.run(["chmod", "-R", "a+rX", database], check=True)


def new_key(path: Path) -> str:
    """Return a private key that no host knows."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.read_text()


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code == 202, answer.text


def only_container(engine: docker.DockerClient, deployment: Deployment) -> Container:
    """Wait for the job's one container to run, and return it."""
    wait_until(lambda: [one.status for one in containers_of(engine, deployment)] == ["running"], 60)
    return containers_of(engine, deployment)[0]


async def test_a_reachable_host_passes_its_check_and_is_not_scanned(
    engine: docker.DockerClient, executor: Deployment
) -> None:
    executor.start()
    async with executor.client() as client:
        await post(client, "/check", CHECK)
        job = await wait_for(client, "run-1", "done")
    assert (job["kind"], job["scan_exit"], job["report_exit"], job["phase"]) == ("check", 0, None, "finished")
    assert (job["error"], job["result"]) == (None, None)
    assert any("Checking dependencies" in line for line in job["log"])
    assert not any("Scanning OS pkg" in line for line in job["log"])
    await leaves_nothing(engine, executor)


async def test_a_check_tells_of_an_unknown_host_key(engine: docker.DockerClient, executor: Deployment) -> None:
    executor.known_hosts("")
    executor.start()
    async with executor.client() as client:
        await post(client, "/check", CHECK)
        job = await wait_for(client, "run-1", "done")
    assert (job["scan_exit"], job["result"]) == (1, None)
    assert any("known_hosts" in line or "host key" in line for line in job["log"]), job["log"]
    await leaves_nothing(engine, executor)


async def test_a_check_tells_of_another_host_key(
    engine: docker.DockerClient, host: SshHost, executor: Deployment
) -> None:
    executor.known_hosts(f"{host.address} {FOREIGN_KEY}\n")
    executor.start()
    async with executor.client() as client:
        await post(client, "/check", CHECK)
        job = await wait_for(client, "run-1", "done")
    assert (job["scan_exit"], job["result"]) == (1, None)
    assert any("key" in line.lower() for line in job["log"]), job["log"]
    await leaves_nothing(engine, executor)


async def test_a_check_tells_of_a_key_that_the_host_refuses(
    host: SshHost, executor: Deployment, tmp_path: Path
) -> None:
    key = await asyncio.to_thread(new_key, tmp_path / "key")
    (executor.path / "id_ed25519").write_text(key)
    executor.start()
    async with executor.client() as client:
        await post(client, "/check", CHECK)
        job = await wait_for(client, "run-1", "done")
    assert job["scan_exit"] == 1
    assert any("Permission denied" in line for line in job["log"]), job["log"]
    assert host.private_key.splitlines()[1] not in executor.log.read_text()


@pytest.mark.parametrize("before", ["scan-ok", "report-ok"])
async def test_packages_are_assessed_anew_with_a_newer_database_and_without_a_network(
    engine: docker.DockerClient, host: SshHost, executor: Deployment, before: str
) -> None:
    logins = host.logins()
    executor.start()
    found: dict[str, set[str]] = {}
    async with executor.client() as client:
        for data in ("base", "next"):
            use_data(executor, data)
            await post(client, "/assess", {**CHECK, "job_id": data, "result": recorded(before)})
            job = await wait_for(client, data, "done")
            assert (job["kind"], job["scan_exit"], job["report_exit"]) == ("assess", None, 0), job["log"]
            assert "config" not in job["result"]
            assert job["result"]["packages"] == recorded("scan-ok")["packages"]
            found[data] = set(job["result"]["scannedCves"])
    assert found["base"] == set(recorded("report-ok")["scannedCves"])
    assert found["next"] == set(recorded("report-ok-next")["scannedCves"])
    assert host.logins() == logins
    await leaves_nothing(engine, executor)


async def test_an_assessment_that_cannot_be_made_looks_like_none(executor: Deployment) -> None:
    shutil.rmtree(executor.path / "db")
    executor.start()
    async with executor.client() as client:
        await post(client, "/assess", {**CHECK, "result": recorded("report-ok")})
        job = await wait_for(client, "run-1", "done")
    assert job["report_exit"] == 1
    assert (job["result"]["reportedVersion"], job["result"]["scannedCves"]) == ("", {})


async def test_no_private_key_is_where_an_assessment_could_read_it(
    engine: docker.DockerClient, executor: Deployment
) -> None:
    key = executor.path / "id_ed25519"
    key.unlink()  # it is not even looked for
    executor.start()
    async with executor.client() as client:
        await post(client, "/assess", {**CHECK, "result": recorded("scan-ok")})
        await wait_for(client, "run-1", "done")
    await leaves_nothing(engine, executor)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
async def test_a_check_goes_on_with_the_same_container_after_a_restart(
    engine: docker.DockerClient, executor: Deployment, silent: dict[str, object], sign: signal.Signals
) -> None:
    executor.targets({"web-1": silent})
    executor.settings |= {"scan_network": "host", "scan_timeout": 30}
    executor.start()
    async with executor.client() as client:
        await post(client, "/check", CHECK)
        before = await asyncio.to_thread(only_container, engine, executor)
        executor.stop(sign)
        executor.start()
    async with executor.client() as client:
        assert (await asyncio.to_thread(only_container, engine, executor)).id == before.id
        job = await wait_for(client, "run-1", *ENDS, seconds=90)
    assert (job["state"], job["result"]) in [("done", None), ("failed", None)], job
    assert sum("Detecting OS of servers" in line for line in job["log"]) == 1
    await leaves_nothing(engine, executor)


@pytest.mark.parametrize("pause", [0.0, 0.5, 1.0])
async def test_an_assessment_ends_right_and_once_however_its_executor_is_killed(
    engine: docker.DockerClient, executor: Deployment, pause: float
) -> None:
    executor.start()
    async with executor.client() as client:
        await post(client, "/assess", {**CHECK, "result": recorded("report-ok")})
        await asyncio.sleep(pause)
    executor.stop(signal.SIGKILL)
    executor.start()
    async with executor.client() as client:
        job = await wait_for(client, "run-1", "done", seconds=60)
        assert (await client.get("/jobs/run-1/events")).text.count("event: end") == 1
    assert len(job["result"]["scannedCves"]) == 9
    assert sum("CVEs are detected with vuls2" in line for line in job["log"]) == 1
    await leaves_nothing(engine, executor)


@pytest.mark.parametrize(("path", "state"), [("/check", "scanning"), ("/assess", "reporting")])
async def test_a_cancelled_job_leaves_nothing(
    engine: docker.DockerClient, executor: Deployment, silent: dict[str, object], path: str, state: str
) -> None:
    executor.targets({"web-1": silent})
    executor.settings["scan_network"] = "host"
    executor.start()
    body = {**CHECK, "result": recorded("scan-ok")} if path == "/assess" else CHECK
    async with executor.client() as client:
        await post(client, path, body)
        await wait_for(client, "run-1", state)
        await client.delete("/jobs/run-1")
        await wait_for(client, "run-1", "cancelled", seconds=5)
    await leaves_nothing(engine, executor)
