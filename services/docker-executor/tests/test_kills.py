"""Executor, container and engine are killed at many moments of a real scan: it ends right, once, and leaves nothing.

The moments are phases of the scan, and each kill must have hit something in its phase.
"""

import asyncio
import json
import re
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
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


async def the_end(deployment: Deployment) -> dict[str, Any]:
    """Wait for the job's end, however it is."""
    async with deployment.client() as client:
        return await wait_for(client, "run-1", *ENDS, seconds=120)


@asynccontextmanager
async def following(deployment: Deployment) -> AsyncIterator[list[str]]:
    """Follow the job's events from now on, as a worker does that comes back whenever the executor is away.

    Yield the ends that were told, each with its state; the stream is listened to a while longer than the first.
    """
    ends: list[str] = []
    connected = asyncio.Event()

    async def listen() -> None:
        while not ends:
            with suppress(httpx.TransportError):
                async with deployment.client() as client, client.stream("GET", "/jobs/run-1/events") as stream:
                    event = ""
                    async for line in stream.aiter_lines():
                        connected.set()
                        if line.startswith("event: "):
                            event = line
                        elif line.startswith("data: ") and event == "event: end":
                            ends.append(json.loads(line.removeprefix("data: "))["state"])
            await asyncio.sleep(0.1)

    listening = asyncio.create_task(listen())
    try:
        async with asyncio.timeout(20):
            await connected.wait()
        yield ends
        async with asyncio.timeout(20):
            await listening
    finally:
        listening.cancel()


async def ends_stored(deployment: Deployment) -> int:
    """Count how often the executor's log says that the job came to an end, and how often it moved after that."""
    moves = re.findall(r"job run-1: (\w+)$", deployment.log.read_text(), re.MULTILINE)
    first = next(index for index, move in enumerate(moves) if move in ENDS)
    return len(moves) - first


def kill_executor(_: OwnEngine, __: docker.DockerClient, deployment: Deployment) -> bool:
    """Kill the executor and start it again. Like the other two it returns whether its victim was alive."""
    deployment.stop(signal.SIGKILL)
    time.sleep(AWAY)
    deployment.start()
    return True


def kill_container(_: OwnEngine, client: docker.DockerClient, deployment: Deployment) -> bool:
    """Kill what runs of the job, as soon as something does; a job that has ended has nothing to kill."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for container in containers_of(client, deployment):
            with suppress(DockerException):  # it is not running, or not any more
                container.kill()
                return True
        time.sleep(0.02)
    return False


def kill_engine(engine: OwnEngine, _: docker.DockerClient, __: Deployment) -> bool:
    """Kill the engine and start it again, whereby it ends what still runs."""
    engine.kill()
    time.sleep(AWAY)
    engine.start()
    return True


VICTIMS = {"executor": kill_executor, "container": kill_container, "engine": kill_engine}
MOMENTS = (
    "preparing/preparing",
    "scanning/starting",
    "scanning/validating",
    "scanning/connecting",
    "scanning/connected",
    "scanning/detecting_platform",
    "scanning/collecting_packages",
    "reporting/loading",
)
LATER = ("reporting/matching", "reporting/matched")  # too short to wait for
SHORT = "scanning/collecting_packages"  # make test has that much time


def table() -> Iterator[Any]:
    for name in VICTIMS:
        for moment in MOMENTS:
            marks = [] if moment == SHORT else [pytest.mark.long]
            yield pytest.param(name, moment, marks=marks, id=f"{name} in {moment}")


@pytest.fixture(scope="module")
def hit() -> Iterator[dict[str, set[str]]]:
    """Keep in which states each victim was killed, and fail where the whole table left one out."""
    made: dict[str, set[str]] = {}
    yield made
    if sum(map(len, made.values())) > len(VICTIMS):
        missed = {name: {"preparing", "scanning", "reporting"} - states for name, states in made.items()}
        missed["container"].discard("preparing")  # it waits for a container, and that is the scan's
        assert not any(missed.values()), missed


@pytest.mark.parametrize(("victim", "moment"), list(table()))
async def test_whatever_is_killed_the_scan_ends_right_once_and_leaves_nothing(
    mortal: tuple[OwnEngine, docker.DockerClient],
    executor: Deployment,
    hit: dict[str, set[str]],
    victim: str,
    moment: str,
) -> None:
    engine, client = mortal
    with watching(client, executor) as watch:
        async with executor.client() as http:
            await submit(http, "run-1")
            phase = await reached(http, moment)
        async with following(executor) as ends:
            assert await asyncio.to_thread(VICTIMS[victim], engine, client, executor), "nothing was killed"
            job = await the_end(executor)
    hit.setdefault(victim, set()).add(phase.split("/")[0])
    seen = f"killed in {phase}; {job}"
    assert watch.most <= 1, "two programs of one job ran at the same time"
    assert len(watch.scans) <= 1, "it was scanned twice"
    assert ends == [job["state"]]
    assert await ends_stored(executor) == 1
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


async def reached(client: httpx.AsyncClient, moment: str) -> str:
    """Wait until the job is in a phase, or just beyond it, as some are short; return where it is."""
    order = {name: number for number, name in enumerate((*MOMENTS, *LATER))}
    async with asyncio.timeout(120):
        while True:
            job = (await client.get("/jobs/run-1")).json()
            phase = f"{job['state']}/{job['phase']}"
            assert job["state"] not in ENDS, f"it ended before {moment}"
            if order.get(phase, -1) >= order[moment]:
                return phase
            await asyncio.sleep(0.02)
