"""Executor, container and engine are killed at many moments of a real scan: it ends right, once, and leaves nothing.

The moments lie evenly over the time that an undisturbed scan takes, so that every phase has some.
"""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import docker
import httpx
import pytest
import requests
from docker.errors import DockerException

from executor.containers import STEP_LABEL
from executor.jobs import Step
from tests.harness import ENDS, Deployment, submit, wait_for
from tests.own_engine import OwnEngine, own_engine
from tests.scene import containers_of, for_host, leaves_nothing
from tests.targets import SshHost

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
MOMENTS = 9  # at which each victim is killed
AWAY = 1.0  # seconds that a killed executor or engine stays away


@dataclass
class Watch:
    """What was seen running at the engine: the containers of scans, and how many at most at the same time."""

    scans: set[str] = field(default_factory=set)
    most: int = 0

    def look(self, engine: docker.DockerClient, deployment: Deployment) -> None:
        """Note what runs now. An engine that is away shows nothing."""
        try:
            found = containers_of(engine, deployment)
        except (requests.RequestException, DockerException):
            return
        running = [container for container in found if container.status == "running"]
        self.most = max(self.most, len(running))
        self.scans |= {str(container.id) for container in running if container.labels[STEP_LABEL] == Step.SCAN}


@contextmanager
def watching(engine: docker.DockerClient, deployment: Deployment) -> Iterator[Watch]:
    """Look at the engine all the time."""
    watch, over = Watch(), threading.Event()

    def go_on() -> None:
        while not over.wait(0.1):
            watch.look(engine, deployment)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def mortal() -> Iterator[tuple[OwnEngine, docker.DockerClient]]:
    with own_engine("vuls-live/vuls:local") as made:
        yield made


@pytest.fixture
def executor(
    mortal: tuple[OwnEngine, docker.DockerClient], host: SshHost, deploy: Callable[..., Deployment]
) -> Iterator[Deployment]:
    engine, client = mortal
    deployment = for_host(deploy(engine=engine.url, scan_network="host"), host)
    yield deployment.start()
    if deployment.process is not None:
        deployment.stop(signal.SIGKILL)
    for container in containers_of(client, deployment):
        container.remove(force=True)


@pytest.fixture(scope="module")
def usual() -> dict[str, float]:
    """Keep how long a scan takes that nobody disturbs."""
    return {}


async def the_end(deployment: Deployment) -> dict[str, Any]:
    """Wait for the job's end, however it is."""
    async with deployment.client() as client:
        return await wait_for(client, "run-1", *ENDS, seconds=120)


async def ends_told(deployment: Deployment) -> int:
    """Count the ends in the job's event stream."""
    async with deployment.client() as client:
        answer = await client.get("/jobs/run-1/events")
    return answer.text.count("event: end")


def kill_executor(_: OwnEngine, __: docker.DockerClient, deployment: Deployment) -> None:
    """Kill the executor and start it again."""
    deployment.stop(signal.SIGKILL)
    time.sleep(AWAY)
    deployment.start()


def kill_container(_: OwnEngine, client: docker.DockerClient, deployment: Deployment) -> None:
    """Kill what runs of the job."""
    for container in containers_of(client, deployment):
        with suppress(DockerException):  # it is not running, or not any more
            container.kill()


def kill_engine(engine: OwnEngine, _: docker.DockerClient, __: Deployment) -> None:
    """Kill the engine and start it again, whereby it ends what still runs."""
    engine.kill()
    time.sleep(AWAY)
    engine.start()


VICTIMS = {"executor": kill_executor, "container": kill_container, "engine": kill_engine}


def table() -> Iterator[Any]:
    for name in VICTIMS:
        for moment in range(MOMENTS):
            # The scan runs in the middle: make test has that much time.
            marks = [] if moment == MOMENTS // 2 else [pytest.mark.long]
            yield pytest.param(name, moment, marks=marks, id=f"{name} {moment + 1} of {MOMENTS}")


@pytest.mark.parametrize(("victim", "moment"), list(table()))
async def test_whatever_is_killed_the_scan_ends_right_once_and_leaves_nothing(
    mortal: tuple[OwnEngine, docker.DockerClient],
    executor: Deployment,
    usual: dict[str, float],
    victim: str,
    moment: int,
) -> None:
    engine, client = mortal
    if not usual:
        usual["seconds"] = await undisturbed(executor)
    began = time.monotonic()
    with watching(client, executor) as watch:
        async with executor.client() as http:
            await submit(http, "run-1")
            await asyncio.sleep(max(0.0, usual["seconds"] * moment / MOMENTS - (time.monotonic() - began)))
            phase = await _phase(http)
        await asyncio.to_thread(VICTIMS[victim], engine, client, executor)
        job = await the_end(executor)
    seen = f"killed in {phase}; {job}"
    assert watch.most <= 1, "two programs of one job ran at the same time"
    assert len(watch.scans) <= 1, "it was scanned twice"
    assert await ends_told(executor) == 1
    if job["state"] == "done":
        assert (job["scan_exit"], job["report_exit"]) == (0, 0), seen
        assert job["result"]["scannedCves"], seen
        assert sum("Start scanning" in line for line in job["log"]) == 1
    else:
        # An engine that was killed as it started a container may find its own leftovers in the way, and refuse.
        codes = {"program_killed", "engine_refused"} if victim == "engine" else {"program_killed"}
        assert job["state"] == "failed", seen
        assert job["error"]["code"] in codes, seen
        assert victim != "executor", seen
        assert job["scan_exit"] == 0 or job["result"] is None, seen
    await leaves_nothing(client, executor, seconds=15)


async def undisturbed(deployment: Deployment) -> float:
    """Return the seconds that a scan takes."""
    began = time.monotonic()
    async with deployment.client() as client:
        await submit(client, "run-0")
        await wait_for(client, "run-0", "done", seconds=120)
    return time.monotonic() - began


async def _phase(client: httpx.AsyncClient) -> str:
    job = (await client.get("/jobs/run-1")).json()
    return f"{job['state']}/{job['phase']}"
