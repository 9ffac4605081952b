"""Results of the greatest size that no honest server sends: the executor goes on serving. No engine is needed."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

from executor.jobs import ScanType, State, Step
from executor.store import Store
from executor.workspace import Workspace
from tests.harness import ENDS, Deployment, submit, wait_for
from tests.scene import settings_of

MIB = 1024 * 1024
DENSE = '{"serverName": "web-1", "x": [' + "{}," * (20 * MIB) + "{}]}"


def full(mib: int) -> str:
    """Return a result of this size with texts of 27 characters."""
    return json.dumps({"serverName": "web-1", "x": ["x" * 27] * (mib * MIB // 31)}, separators=(",", ":"))


def before_its_collection(executor: Deployment, **results: str) -> None:
    """Leave jobs whose report has ended, as a killed executor would, with what Vuls wrote for each."""
    settings = settings_of(executor)
    settings.jobs_dir.mkdir(parents=True)
    store = Store(executor.state_dir / "jobs.sqlite3")
    for job_id, result in results.items():
        store.add(job_id, "web-1", ScanType.FAST, begun=True)
        store.move(job_id, State.SCANNING)
        store.note_exit(job_id, Step.SCAN, 0)
        store.move(job_id, State.REPORTING)
        store.note_exit(job_id, Step.REPORT, 0)
        run: Path = Workspace(settings, job_id).results / "2026-11-23T05-50-50+0000"
        run.mkdir(parents=True)
        (run / "web-1.json").write_text(result)
    store.close()


async def test_a_job_is_cancelled_in_time_while_the_largest_results_are_read(deploy: Callable[..., Deployment]) -> None:
    executor = deploy(engine="unix:///nowhere.sock", engine_grace=600)
    before_its_collection(executor, dense=DENSE, full=full(60))
    executor.start()
    async with executor.client() as client:
        await submit(client, "other")
        began = time.monotonic()
        await client.delete("/jobs/other")
        await wait_for(client, "other", "cancelled", seconds=5)
        assert time.monotonic() - began < 5
        dense, whole = await asyncio.gather(
            wait_for(client, "dense", *ENDS, seconds=90), wait_for(client, "full", *ENDS, seconds=90)
        )
    assert (dense["state"], dense["error"]["code"], dense["result"]) == ("failed", "result_invalid", None)
    assert "more values than any real one" in dense["error"]["sentence"]
    assert (whole["state"], len(whole["result"]["x"])) == ("done", 60 * MIB // 31)


async def test_a_job_is_cancelled_in_time_while_its_own_result_is_read(deploy: Callable[..., Deployment]) -> None:
    executor = deploy(engine="unix:///nowhere.sock", engine_grace=600)
    before_its_collection(executor, **{f"run-{number}": full(16) for number in range(4)})
    executor.start()
    async with executor.client() as client:
        for number in range(4):
            await client.delete(f"/jobs/run-{number}")
        for number in range(4):
            job = await wait_for(client, f"run-{number}", "cancelled", "done", seconds=5)
            assert (job["result"] is None) == (job["state"] == "cancelled")
    assert "Traceback" not in executor.log.read_text()
