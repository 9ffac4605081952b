"""Jobs on the real engine, with the real Vuls image and real hosts."""

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
from docker.models.containers import Container

from executor.engine import Engine
from executor.jobs import ScanType, State, Step
from executor.settings import Settings
from executor.store import Store
from executor.targets import Target
from executor.workspace import Workspace
from tests.harness import Deployment, read, submit, wait_for, wait_until
from tests.scene import containers_of, for_host, leaves_nothing, nothing_is_left, settings_of
from tests.targets import SshHost, output, silent_host

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]


@pytest.fixture
def deploy(engine: docker.DockerClient, deploy: Callable[..., Deployment]) -> Iterator[Callable[..., Deployment]]:
    """Return the common fixture's function, but remove what a failed test leaves at the engine."""
    made: list[Deployment] = []

    def make(**settings: object) -> Deployment:
        made.append(deploy(**settings))
        return made[-1]

    yield make
    for deployment in made:
        if deployment.process is not None:
            deployment.stop(signal.SIGKILL)
        for container in containers_of(engine, deployment):
            container.remove(force=True)


@pytest.fixture
def silent() -> Iterator[dict[str, object]]:
    with silent_host() as target:
        yield target


def for_silence(deployment: Deployment, target: dict[str, object]) -> Deployment:
    """Prepare a deployment whose one target never answers."""
    deployment.targets({"web-1": target})
    deployment.settings["scan_network"] = "host"
    return deployment


def made_in(deployment: Deployment, step: Step, target: dict[str, object]) -> Settings:
    """Have a container of a job made as the executor would, without starting it."""
    settings = settings_of(deployment)
    settings.jobs_dir.mkdir(parents=True, exist_ok=True)
    store = Store(deployment.state_dir / "jobs.sqlite3")
    store.add("run-1", "web-1", ScanType.FAST)
    job = store.move("run-1", State.PREPARING)
    store.close()
    Workspace(settings, "run-1").prepare(job, Target.model_validate(target))
    Engine(settings).create(job, step)
    return settings


@asynccontextmanager
async def scanning(
    deployment: Deployment, engine: docker.DockerClient, job_id: str = "run-1"
) -> AsyncIterator[tuple[httpx.AsyncClient, Container]]:
    """Start the executor and a job, and wait until its scan container runs."""
    deployment.start()
    async with deployment.client() as client:
        await submit(client, job_id)
        await wait_for(client, job_id, "scanning")

        def running() -> bool:
            return [c.status for c in containers_of(engine, deployment)] == ["running"]

        await asyncio.to_thread(wait_until, running, 60)
        yield client, containers_of(engine, deployment)[0]


async def phases(client: httpx.AsyncClient, job_id: str) -> list[str]:
    async with client.stream("GET", f"/jobs/{job_id}/events", timeout=200) as stream:
        return [line async for line in stream.aiter_lines() if line.startswith("data: ")]


async def test_a_real_host_is_scanned_and_assessed(
    engine: docker.DockerClient, host: SshHost, deploy: Callable[..., Deployment]
) -> None:
    executor = for_host(deploy(), host).start()
    async with executor.client() as client:
        assert (await client.get("/health")).json() == {
            "status": "ok",
            "engine": "ok",
            "image": "ok",
            "database": "ok",
            "database_info": None,
        }
        await submit(client, "run-1")
        stream = asyncio.create_task(phases(client, "run-1"))
        job = await wait_for(client, "run-1", "done")
        seen = await asyncio.wait_for(stream, 30)
        again = await client.post("/scan", json={"job_id": "run-1", "server": "web-1", "scan_type": "fast"})
    assert (again.status_code, again.json()) == (200, job)
    assert (job["scan_exit"], job["report_exit"], job["error"], job["phase"]) == (0, 0, None, "finished")
    result = job["result"]
    assert (result["serverName"], result["family"], result["release"].split(".")[0]) == ("web-1", "debian", "12")
    assert len(result["packages"]) > 50
    assert "config" not in result
    assert result["scannedCves"]
    states = [line for line in ("scanning", "reporting", "done") if any(f'"{line}"' in data for data in seen)]
    assert states == ["scanning", "reporting", "done"]
    assert any('"connecting"' in data for data in seen)
    assert any("Scanning OS pkg" in line for line in job["log"])
    assert any("CVEs detected" in line for line in job["log"])
    assert host.private_key.splitlines()[1] not in executor.log.read_text() + str(job)
    await leaves_nothing(engine, executor)


async def test_an_unknown_host_key_is_vulss_own_word(
    engine: docker.DockerClient, host: SshHost, deploy: Callable[..., Deployment]
) -> None:
    executor = for_host(deploy(), host)
    executor.known_hosts("")
    executor.start()
    async with executor.client() as client:
        await submit(client, "run-1")
        job = await wait_for(client, "run-1", "done")
    assert (job["scan_exit"], job["report_exit"]) == (1, 1)
    assert "Failed to find the host in known_hosts" in str(job["log"])
    assert "Failed to find the host in known_hosts" in str(job["result"]["errors"])
    assert (job["result"]["family"], job["result"]["packages"]) == ("", None)
    await leaves_nothing(engine, executor)


async def test_a_scan_that_fills_the_disk_is_told_as_that(
    engine: docker.DockerClient,
    host: SshHost,
    deploy: Callable[..., Deployment],
    small_disk: Callable[[Path, int], None],
) -> None:
    executor = for_host(deploy(min_free_mib=0), host)
    small_disk(executor.state_dir / "jobs", 64)
    executor.start()
    async with executor.client() as client:
        await submit(client, "run-1")
        job = await wait_for(client, "run-1", "failed")
    assert job["error"]["code"] == "disk_full"
    assert f"{executor.state_dir}/jobs has 0 MiB free, a scan needs 1 MiB" in job["error"]["sentence"]
    await leaves_nothing(engine, executor)


@pytest.mark.parametrize(
    "command",
    [
        "for n in 1 2 3 4; do dd if=/dev/zero of=/job/$n bs=1M count=2 2>/dev/null; done",
        "mkdir /job/d; n=0; while [ $n -lt 200 ]; do : >/job/d/$n; n=$((n + 1)); done",
    ],
    ids=["large files", "many files"],
)
async def test_a_scan_that_takes_more_than_its_share_of_the_disk_is_ended(
    engine: docker.DockerClient, silent: dict[str, object], deploy: Callable[..., Deployment], command: str
) -> None:
    executor = for_silence(deploy(job_disk_mib=4, job_files=100), silent)
    async with scanning(executor, engine) as (client, container):
        await asyncio.to_thread(container.exec_run, ["sh", "-c", command])
        job = await wait_for(client, "run-1", "failed", seconds=60)
    assert job["error"]["code"] == "job_too_large"
    assert "4 MiB (VULS_EXECUTOR_JOB_DISK_MIB)" in job["error"]["sentence"]
    await leaves_nothing(engine, executor)


async def test_a_missing_database_is_vulss_own_word(host: SshHost, deploy: Callable[..., Deployment]) -> None:
    executor = for_host(deploy(), host)
    shutil.rmtree(executor.path / "db")
    executor.start()
    async with executor.client() as client:
        assert (await client.get("/health")).json()["status"] == "degraded"
        await submit(client, "run-1")
        job = await wait_for(client, "run-1", "done")
    assert (job["scan_exit"], job["report_exit"]) == (0, 1)
    assert "not found" in str(job["log"])
    assert job["result"]["packages"]
    assert job["result"]["scannedCves"] == {}


async def test_the_engine_holds_both_containers_to_their_limits(
    engine: docker.DockerClient, silent: dict[str, object], deploy: Callable[..., Deployment]
) -> None:
    async with scanning(for_silence(deploy(), silent), engine) as (client, container):
        container.reload()
        config, limits = container.attrs["Config"], container.attrs["HostConfig"]
        assert config["User"] == "10001:65534"
        assert config["Cmd"][0] == "scan"
        assert (limits["ReadonlyRootfs"], limits["CapDrop"], limits["CapAdd"]) == (True, ["ALL"], None)
        assert (limits["Privileged"], limits["SecurityOpt"]) == (False, ["no-new-privileges"])
        assert (limits["Memory"], limits["MemorySwap"], limits["PidsLimit"]) == (1 << 30, 1 << 30, 256)
        status = output(container, "cat", "/proc/self/status")
        assert "NoNewPrivs:\t1" in status
        assert "CapBnd:\t0000000000000000" in status
        for path in ("/x", "/etc/vuls/x", "/etc/passwd"):
            assert container.exec_run(["sh", "-c", f"echo >>{path}"]).exit_code != 0
        key = output(container, "stat", "-c", "%a %u", "/etc/vuls/id")
        assert key.split() == ["600", "10001"]
        await client.delete("/jobs/run-1")
        await wait_for(client, "run-1", "cancelled", seconds=5)


@pytest.mark.parametrize("step", list(Step))
async def test_the_engine_has_made_what_the_deployment_says_and_no_more(
    engine: docker.DockerClient, host: SshHost, deploy: Callable[..., Deployment], step: Step
) -> None:
    executor = for_host(deploy(memory_mib=96, cpus=0.5, pids=77), host)
    settings = made_in(executor, step, host.target)
    (container,) = containers_of(engine, executor)
    config, limits = container.attrs["Config"], container.attrs["HostConfig"]
    place = f"{executor.state_dir}/jobs/run-1"
    own = {
        Step.SCAN: ("scan", "bridge", {"/etc/vuls": (f"{place}/scan", False)}),
        Step.REPORT: (
            "report",
            "none",
            {"/etc/vuls": (f"{place}/report", False), "/db/demo-db": (str(settings.database), False)},
        ),
    }
    command, network, mounts = own[step]
    mounts |= {"/etc/passwd": (f"{place}/passwd", False), "/job": (f"{place}/results", True)}
    assert {m["Destination"]: (m["Source"], m["RW"]) for m in container.attrs["Mounts"]} == mounts
    assert (config["Image"], config["Entrypoint"], config["Cmd"][0]) == (settings.image, ["vuls"], command)
    assert (config["User"], limits["NetworkMode"]) == (f"{settings.uid}:65534", network)
    assert set(container.attrs["NetworkSettings"]["Networks"]) == {network}
    assert (limits["Memory"], limits["MemorySwap"]) == (96 << 20, 96 << 20)
    assert (limits["NanoCpus"], limits["PidsLimit"]) == (500_000_000, 77)
    assert (limits["ReadonlyRootfs"], limits["CapDrop"], limits["CapAdd"]) == (True, ["ALL"], None)
    assert (limits["Privileged"], limits["SecurityOpt"]) == (False, ["no-new-privileges"])
    for given in ("Devices", "DeviceRequests", "PortBindings", "Binds", "VolumesFrom", "GroupAdd", "ExtraHosts"):
        assert not limits[given], given
    assert not {limits[name] for name in ("PidMode", "UTSMode", "UsernsMode")} & {"host"}
    assert limits["IpcMode"] in {"private", "none"}


# Takes what memory there is, after all but itself and the container's first process were made the kernel's choice.
GREEDY = """
for other in /proc/[0-9]*; do
    [ "$other" = /proc/1 ] || [ "$other" = "/proc/$$" ] || echo 1000 > "$other/oom_score_adj"
done
head -c 200000000 /dev/zero | tail -n 1 > /dev/null
"""


async def test_a_program_that_needs_more_memory_than_it_has_says_so(
    engine: docker.DockerClient, silent: dict[str, object], deploy: Callable[..., Deployment]
) -> None:
    executor = for_silence(deploy(memory_mib=64, scan_timeout=20), silent)
    async with scanning(executor, engine) as (client, container):
        await asyncio.to_thread(container.exec_run, ["sh", "-c", GREEDY])
        job = await wait_for(client, "run-1", "failed", seconds=60)
    assert job["error"]["code"] in {"out_of_memory", "program_killed"}, "the engine of Debian 12 does not tell"
    assert "more than 64 MiB" in job["error"]["sentence"]
    await leaves_nothing(engine, executor)


async def test_a_running_scan_is_cancelled_within_five_seconds(
    engine: docker.DockerClient, silent: dict[str, object], deploy: Callable[..., Deployment]
) -> None:
    executor = for_silence(deploy(), silent)
    async with scanning(executor, engine) as (client, _):
        assert (await client.delete("/jobs/run-1")).status_code == 202
        job = await wait_for(client, "run-1", "cancelled", seconds=5)
        assert nothing_is_left(engine, executor)
        assert (job["scan_exit"], job["result"]) == (None, None)


@pytest.mark.parametrize("moments", [3, pytest.param(24, marks=pytest.mark.long)])
async def test_a_scan_is_cancelled_at_any_moment_and_leaves_nothing(
    engine: docker.DockerClient, host: SshHost, deploy: Callable[..., Deployment], moments: int
) -> None:
    executor = for_host(deploy(), host).start()
    everywhere = {"scanning", "reporting"} if moments > 3 else {"scanning"}
    states = set()
    async with executor.client() as client:
        for again in range(3):  # a scan that is much slower than the ones behind it tells of no moment in them
            began = time.monotonic()
            await submit(client, f"run-{again}-0")
            await wait_for(client, f"run-{again}-0", "done")
            usual = time.monotonic() - began
            for number in range(1, moments + 1):
                job_id = f"run-{again}-{number}"
                await submit(client, job_id)
                await asyncio.sleep(usual * (number - 1) / moments)
                before = await read(client, job_id)
                assert (await client.delete(f"/jobs/{job_id}")).status_code == 202
                job = await wait_for(client, job_id, "cancelled", "done", seconds=5)
                assert job["state"] == "cancelled" or before["state"] in {"reporting", "done"}, before
                await leaves_nothing(engine, executor, seconds=5)
                states.add(before["state"])
            if everywhere <= states:
                break
    assert everywhere <= states, "the moments do not lie over the whole of a scan"


@pytest.mark.parametrize("state", ["accepted", "preparing", "scanning", "reporting"])
async def test_a_scan_is_cancelled_in_each_state_within_five_seconds(
    engine: docker.DockerClient, host: SshHost, deploy: Callable[..., Deployment], state: str
) -> None:
    executor = for_host(deploy(max_parallel=1), host).start()
    async with executor.client() as client:
        if state == "accepted":
            await submit(client, "run-0")
        job = await submit(client, "run-1")
        if job["state"] != state:
            job = await wait_for(client, "run-1", state)
        for job_id in ("run-1", "run-0") if state == "accepted" else ("run-1",):
            assert (await client.delete(f"/jobs/{job_id}")).status_code == 202
            ended = await wait_for(client, job_id, "cancelled", seconds=5)
            assert (ended["error"], ended["result"]) == (None, None)
    assert job["state"] == state
    await leaves_nothing(engine, executor, seconds=5)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restarted_executor_goes_on_with_the_same_container(
    engine: docker.DockerClient,
    silent: dict[str, object],
    deploy: Callable[..., Deployment],
    sign: signal.Signals,
) -> None:
    executor = for_silence(deploy(scan_timeout=20), silent)
    async with scanning(executor, engine) as (_, before):
        executor.stop(sign)
        before.reload()
        assert before.status == "running"
        executor.start()
        async with executor.client() as client:
            assert (await read(client, "run-1"))["state"] == "scanning"
            assert [container.id for container in containers_of(engine, executor)] == [before.id]
            job = await wait_for(client, "run-1", "done")
    assert job["scan_exit"] == 1
    assert "Timed out: web-1" in str(job["log"])
    assert job["result"]["errors"]
    await leaves_nothing(engine, executor)


async def test_a_scan_that_ended_while_the_executor_was_away_is_not_repeated(
    engine: docker.DockerClient, host: SshHost, deploy: Callable[..., Deployment]
) -> None:
    executor = for_host(deploy(), host)
    async with scanning(executor, engine) as (_, container):
        executor.stop(signal.SIGKILL)
        assert container.wait(timeout=150)["StatusCode"] == 0
        logins = host.logins()
        executor.start()
        async with executor.client() as client:
            job = await wait_for(client, "run-1", "done")
    assert (job["scan_exit"], job["report_exit"]) == (0, 0)
    assert host.logins() == logins
    await leaves_nothing(engine, executor)


async def test_a_job_whose_container_is_gone_is_lost(
    engine: docker.DockerClient, silent: dict[str, object], deploy: Callable[..., Deployment]
) -> None:
    executor = for_silence(deploy(), silent)
    async with scanning(executor, engine) as (_, container):
        executor.stop(signal.SIGKILL)
        container.remove(force=True)
        executor.start()
        async with executor.client() as client:
            job = await wait_for(client, "run-1", "lost", seconds=60)
    assert job["error"]["code"] == "container_lost"
    await leaves_nothing(engine, executor)


@pytest.mark.parametrize("crashed_in", [State.PREPARING, State.SCANNING])
async def test_a_container_that_was_made_but_never_started_runs_once(
    engine: docker.DockerClient, deploy: Callable[..., Deployment], crashed_in: State
) -> None:
    nobody_listens: dict[str, object] = {"address": "127.0.0.1", "port": 1, "user": "vuls"}
    executor = for_silence(deploy(), nobody_listens)
    settings = settings_of(executor)
    settings.jobs_dir.mkdir(parents=True)
    store = Store(executor.state_dir / "jobs.sqlite3")
    store.add("run-1", "web-1", ScanType.FAST)
    job = store.move("run-1", State.PREPARING)
    Workspace(settings, "run-1").prepare(job, Target.model_validate(nobody_listens))
    Engine(settings).create(job, Step.SCAN)
    if crashed_in is State.SCANNING:
        store.move("run-1", State.SCANNING)
    store.close()
    [made] = containers_of(engine, executor)
    assert made.status == "created"
    executor.start()
    async with executor.client() as client:
        job_after = await wait_for(client, "run-1", "done")
    assert sum("Start scanning" in line for line in job_after["log"]) == 1
    assert job_after["scan_exit"] == 1
    await leaves_nothing(engine, executor)


async def test_a_killed_scan_is_failed(
    engine: docker.DockerClient, silent: dict[str, object], deploy: Callable[..., Deployment]
) -> None:
    executor = for_silence(deploy(), silent)
    async with scanning(executor, engine) as (client, container):
        container.kill()
        job = await wait_for(client, "run-1", "failed", seconds=60)
    assert job["error"]["code"] == "program_killed"
    assert job["error"]["sentence"].startswith("The scan was ended by signal 9. ")
    await leaves_nothing(engine, executor)


async def test_a_scan_beyond_its_time_is_ended(
    engine: docker.DockerClient, silent: dict[str, object], deploy: Callable[..., Deployment]
) -> None:
    executor = for_silence(deploy(scan_timeout=8), silent)
    async with scanning(executor, engine) as (client, container):
        container.pause()  # so that Vuls cannot keep its own, shorter limit
        job = await wait_for(client, "run-1", "failed", seconds=60)
    assert job["error"]["code"] == "time_limit"
    assert "8 s" in job["error"]["sentence"]
    await leaves_nothing(engine, executor)


@pytest.mark.parametrize(
    ("settings", "code", "word"),
    [
        ({"image": "vuls-live/no-such-image:1"}, "image_missing", "vuls-live/no-such-image:1"),
        ({"scan_network": "no-such-network"}, "engine_refused", "no-such-network"),
        ({"image": "vuls-live/base:bookworm"}, "image_unusable", "vuls-live/base:bookworm"),
    ],
)
async def test_what_the_engine_refuses_fails_the_job_with_the_reason(
    engine: docker.DockerClient, deploy: Callable[..., Deployment], settings: dict[str, Any], code: str, word: str
) -> None:
    executor = deploy(**settings).start()
    async with executor.client() as client:
        await submit(client, "run-1")
        job = await wait_for(client, "run-1", "failed", seconds=20)
    assert job["error"]["code"] == code
    assert word in job["error"]["sentence"]
    await leaves_nothing(engine, executor)


async def test_no_more_jobs_run_than_allowed_and_the_rest_follow(
    engine: docker.DockerClient, silent: dict[str, object], deploy: Callable[..., Deployment]
) -> None:
    executor = for_silence(deploy(max_parallel=2), silent).start()
    async with executor.client() as client:
        for number in range(3):
            await submit(client, f"run-{number}")
        for number in range(2):
            await wait_for(client, f"run-{number}", "scanning")
        assert (await read(client, "run-2"))["state"] == "accepted"
        await client.delete("/jobs/run-0")
        await wait_for(client, "run-2", "scanning", seconds=60)
        for number in range(3):
            await client.delete(f"/jobs/run-{number}")
            await wait_for(client, f"run-{number}", "cancelled", seconds=5)
    await leaves_nothing(engine, executor)


async def test_strays_of_this_executor_are_swept_and_others_left_alone(
    engine: docker.DockerClient, silent: dict[str, object], deploy: Callable[..., Deployment]
) -> None:
    executor = for_silence(deploy(), silent)
    async with scanning(executor, engine) as (_, container):
        executor.stop(signal.SIGKILL)
        (executor.state_dir / "jobs.sqlite3").unlink()
        other = engine.containers.create(
            "vuls-live/vuls:local", labels={"vuls-live.executor": "other", "vuls-live.stack": "test"}
        )
        try:
            executor.start()
            await leaves_nothing(engine, executor, seconds=15)
            other.reload()
        finally:
            other.remove(force=True)
    assert container not in engine.containers.list(all=True)
