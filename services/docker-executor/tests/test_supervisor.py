"""What the queue does when its table cannot be written."""

import asyncio
import errno
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from executor import ends
from executor.api import Parts
from executor.engine import EngineUnreachable, Found
from executor.jobs import Job, ScanType, State, Step
from executor.problems import DiskFull, JobFailed
from executor.settings import Settings
from executor.supervisor import Supervisor
from executor.workspace import Workspace


def no_room(*_: object, **__: object) -> Any:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


@pytest.fixture
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    settings.targets.write_text('{"targets": {"web-1": {"address": "192.0.2.1"}}}')
    made = Parts(settings.model_copy(update={"engine": "unix:///nowhere.sock", "engine_grace": 600, "max_parallel": 1}))
    yield made
    await made.supervisor.stop()
    made.store.close()


def submit(parts: Parts, job_id: str) -> Job:
    return parts.supervisor.submit(job_id, "web-1", ScanType.FAST)[0]


async def test_a_job_that_cannot_be_stored_is_refused_and_never_runs(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(parts.store, "add", no_room)
        with pytest.raises(DiskFull, match="could not be stored and was not accepted") as caught:
            submit(parts, "run-1")
    assert str(parts.settings.state_dir) in caught.value.detail
    assert parts.store.get("run-1") is None
    assert submit(parts, "run-1").state is State.PREPARING


async def test_a_job_begins_as_it_is_stored_so_that_no_move_can_fail_in_between(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.store, "move", no_room)
    assert submit(parts, "run-1").state is State.PREPARING
    assert submit(parts, "run-2").state is State.ACCEPTED


async def test_a_turn_that_cannot_be_stored_is_no_error_of_the_next_caller(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.store.add("waits", "web-1", ScanType.FAST)
    with monkeypatch.context() as patch:
        patch.setattr(parts.store, "move", no_room)
        assert submit(parts, "run-1").state is State.ACCEPTED
    submit(parts, "run-2")
    assert [job.state for job in parts.store.unfinished()] == [State.PREPARING, State.ACCEPTED, State.ACCEPTED]


async def test_a_cancellation_that_cannot_be_stored_is_refused(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(parts, "run-1")
    monkeypatch.setattr(parts.store, "request_cancel", no_room)
    with pytest.raises(DiskFull, match="cancellation could not be stored"):
        parts.supervisor.cancel("run-1")


async def test_another_error_of_the_table_is_not_called_a_full_disk(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(parts.store, "add", broken)
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        submit(parts, "run-1")


async def test_a_table_that_cannot_be_written_does_not_keep_the_sweep_from_making_room(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    stray = parts.settings.jobs_dir / "stray"
    stray.mkdir()
    monkeypatch.setattr(parts.store, "purge", no_room)
    monkeypatch.setattr(parts.engine, "found", list)
    await parts.supervisor.sweep()
    assert not stray.exists()


@pytest.mark.parametrize(
    "error", [EngineUnreachable("timed out"), JobFailed("engine_refused", "It is busy."), OSError("no way")], ids=repr
)
async def test_what_cannot_be_removed_keeps_nothing_else_from_being_swept(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (parts.settings.jobs_dir / "gone").mkdir()
    (parts.settings.jobs_dir / "stuck").mkdir()
    parts.store.add("waits", "web-1", ScanType.FAST)
    removed = []
    wipe = Workspace.wipe

    def remove(container: str) -> None:
        if container == "stuck":
            raise error
        removed.append(container)

    def wipe_others(self: Workspace) -> None:
        if self.path.name == "stuck":
            raise OSError(errno.EBUSY, "in use")
        wipe(self)

    monkeypatch.setattr(parts.engine, "found", lambda: [Found(name, name, Step.SCAN) for name in ("stuck", "next")])
    monkeypatch.setattr(parts.engine, "remove", remove)
    monkeypatch.setattr(Workspace, "wipe", wipe_others)
    await parts.supervisor.sweep()
    assert removed == ["next"]
    assert [entry.name for entry in parts.settings.jobs_dir.iterdir()] == ["stuck"]
    assert [job.state for job in parts.store.unfinished()] == [State.PREPARING]


async def test_the_queue_goes_on_although_the_engine_cannot_be_swept(parts: Parts) -> None:
    parts.store.add("waits", "web-1", ScanType.FAST)
    with pytest.raises(EngineUnreachable):
        await parts.supervisor.sweep()
    assert [job.state for job in parts.store.unfinished()] == [State.PREPARING]


async def test_each_sweep_counts_the_time_since_the_last_one_that_could_be_stored(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[float]()
    now = time.monotonic()
    monkeypatch.setattr(parts.engine, "found", list)
    monkeypatch.setattr(parts.supervisor, "_purged_at", now)
    for passed, purge in (
        (60, no_room),
        (120, lambda passed, _: seen.append(passed)),
        (180, lambda *_: seen.append(_[0])),
    ):
        monkeypatch.setattr(parts.store, "purge", purge)
        monkeypatch.setattr("executor.supervisor.time.monotonic", lambda passed=passed: now + passed)
        parts.supervisor._forget_old_jobs()
    assert seen == [120, 60]


@pytest.fixture
def hasty(parts: Parts) -> Parts:
    """An executor that gives up a job after a second, or looks at least."""
    parts.supervisor = Supervisor(
        parts.settings.model_copy(update={"abandon_seconds": 1}), parts.store, parts.engine, parts.feed, parts.database
    )
    return parts


async def ended(parts: Parts, job_id: str) -> Job:
    async with asyncio.timeout(30):
        while True:
            job = parts.store.get(job_id)
            if job is not None and job.state.is_end:
                return job
            await asyncio.sleep(0.05)


async def test_jobs_that_nobody_asks_about_are_ended_with_a_reason(hasty: Parts) -> None:
    await hasty.supervisor.start()
    submit(hasty, "runs")
    submit(hasty, "waits")
    for job_id in ("runs", "waits"):
        job = await ended(hasty, job_id)
        assert (job.state, job.error_code) == (State.CANCELLED, "abandoned")
        assert job.error_sentence == ends.abandoned(1)[1]
    await hasty.supervisor.stop()


async def test_a_restart_gives_those_who_ask_their_time_again(hasty: Parts) -> None:
    hasty.store.add("from before", "web-1", ScanType.FAST, begun=True)
    await hasty.supervisor.start()
    job = hasty.store.get("from before")
    assert job is not None
    assert job.state is State.PREPARING
    assert (await ended(hasty, "from before")).error_code == "abandoned"
    await hasty.supervisor.stop()


async def test_asking_following_and_submitting_again_each_keep_a_job(hasty: Parts) -> None:
    hasty.supervisor = Supervisor(
        hasty.settings.model_copy(update={"abandon_seconds": 5, "max_parallel": 3}),
        hasty.store,
        hasty.engine,
        hasty.feed,
        hasty.database,
    )
    await hasty.supervisor.start()
    jobs = [submit(hasty, name) for name in ("asked", "submitted", "followed", "left")]
    feed = hasty.feed.follow("followed", hasty.store.get)
    await anext(feed)
    waiting = asyncio.ensure_future(anext(feed))
    while (left := hasty.store.get("left")) and not left.state.is_end:
        hasty.supervisor.note_asked(jobs[0])
        submit(hasty, "submitted")
        await asyncio.sleep(0.2)
    states = {job.id: job.state for job in hasty.store.unfinished()}
    assert states.keys() == {"asked", "submitted", "followed"}
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (await ended(hasty, "followed")).error_code == "abandoned"
    await hasty.supervisor.stop()


async def test_a_job_that_was_faster_than_its_end_has_no_reason(hasty: Parts) -> None:
    hasty.store.add("run-1", "web-1", ScanType.FAST, begun=True)
    hasty.store.move("run-1", State.SCANNING)
    hasty.store.move("run-1", State.REPORTING)
    hasty.store.request_cancel("run-1", ("abandoned", "Nobody asked."))
    done = hasty.store.move("run-1", State.DONE)
    assert (done.error_code, done.error_sentence) == (None, None)
