"""How a job ends; the engine is a stand-in, so that each end can be had at will."""

import asyncio
import hashlib
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest

from executor import disk
from executor.database import Database
from executor.engine import Engine, Observation
from executor.feed import Feed
from executor.jobs import Job, ScanType, State, Step
from executor.runner import Runner
from executor.schema import JobView
from executor.settings import Settings
from executor.store import Store
from executor.workspace import Workspace
from tests.harness import DEMO_DATA, wait_until

RESULT = json.dumps({"serverName": "web-1", "packages": {}})


class EndedPrograms:
    """Stands in for the engine: every program ends as it starts, with the status given for its step."""

    def __init__(self, **statuses: int) -> None:
        self.statuses = statuses
        self.started: set[str] = set()

    def create(self, job: Job, step: Step) -> None:
        """Make nothing."""

    def start(self, container_id: str) -> None:
        """Note that the program has run."""
        self.started.add(container_id)

    def remove_job(self, job_id: str, step: Step | None = None) -> None:
        """Remove nothing."""

    def find(self, _: str, step: Step) -> str:
        """Return the step as the id of its container."""
        return step

    def observe(self, container_id: str) -> Observation:
        """Return an ended program, or one that was never started."""
        return Observation(
            started=container_id in self.started,
            running=False,
            exit_code=self.statuses.get(container_id, 0),
            out_of_memory=False,
            lines=tuple(f"{container_id} line {number}" for number in range(20)),
        )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    made = Store(settings.state_dir / "jobs.sqlite3")
    yield made
    made.close()


def runner(settings: Settings, store: Store, result: str | None, **statuses: int) -> Runner:
    """Return the runner of a job that scans, with what its programs will have written."""
    store.add("run-1", "web-1", ScanType.FAST, begun=True)
    job = store.move("run-1", State.SCANNING)
    run = Workspace(settings, "run-1").results / "2026-11-23T05-50-50+0000"
    run.mkdir(parents=True)
    if result is not None:
        (run / "web-1.json").write_text(result)
    return Runner(settings, store, cast("Engine", EndedPrograms(**statuses)), Feed(), Database(settings.database), job)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_free", lambda _: 4096)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("result", "statuses", "outcome", "kept"),
    [
        (RESULT, {"scan": 1}, "The scan ended with status 1, and what it wrote may be incomplete.", True),
        (RESULT, {"report": 2}, "The report ended with status 2, and what it wrote may be incomplete.", True),
        (RESULT[:10], {"report": 2}, "The report ended with status 2, and what it wrote may be incomplete.", False),
        (RESULT[:10], {}, "The result was cut short and is of no use.", False),
        ("", {}, "The result was cut short and is of no use.", False),
        (None, {}, "Vuls could not write its result.", False),
    ],
)
async def test_what_breaks_on_a_full_disk_breaks_for_that(
    settings: Settings, store: Store, result: str | None, statuses: dict[str, int], outcome: str, *, kept: bool
) -> None:
    driven = runner(settings, store, result, **statuses)
    await driven.drive()
    assert (driven.job.state, driven.job.error_code) == (State.FAILED, "disk_full")
    words = f"{settings.state_dir} has 0 MiB free, a scan needs 256 MiB. {outcome} Make room there"
    assert words in str(driven.job.error_sentence)
    assert (store.result("run-1") is not None) is kept
    assert list(settings.jobs_dir.iterdir()) == []


@pytest.mark.usefixtures("full")
async def test_what_ends_well_on_a_full_disk_is_kept(settings: Settings, store: Store) -> None:
    driven = runner(settings, store, RESULT)
    await driven.drive()
    assert (driven.job.state, driven.job.error_code) == (State.DONE, None)
    assert store.result("run-1") is not None


@pytest.mark.parametrize(
    ("result", "statuses", "state", "code"),
    [
        (RESULT[:10], {}, State.FAILED, "result_invalid"),
        (RESULT, {"scan": 1, "report": 1}, State.DONE, None),
        (None, {"scan": 1, "report": 1}, State.DONE, None),
    ],
)
async def test_with_room_on_the_disk_nothing_is_blamed_on_it(
    settings: Settings, store: Store, result: str | None, statuses: dict[str, int], state: State, code: str | None
) -> None:
    driven = runner(settings, store, result, **statuses)
    await driven.drive()
    assert (driven.job.state, driven.job.error_code) == (state, code)


async def test_the_last_words_of_each_program_are_in_the_journal(
    settings: Settings, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "executor"):
        await runner(settings, store, RESULT, scan=1).drive()
    for step in ("scan", "report"):
        assert f"job run-1: {step} said: {step} line 19" in caplog.text
        assert f"{step} line 9" not in caplog.text


@pytest.mark.usefixtures("full")
async def test_an_end_that_cannot_be_stored_makes_room_and_is_the_same_at_the_next_try(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven = runner(settings, store, RESULT[:10])
    move = store.move

    def refuse(_: str, to: State, **__: object) -> Job:
        if to is State.FAILED:
            raise sqlite3.OperationalError("database or disk is full")
        return move("run-1", to)

    with monkeypatch.context() as patch:
        patch.setattr(store, "move", refuse)
        with pytest.raises(sqlite3.OperationalError):
            await driven.drive()
    assert list(settings.jobs_dir.iterdir()) == []
    monkeypatch.setattr(disk, "_free", lambda _: 1 << 40)
    await driven.drive()
    assert (driven.job.state, driven.job.error_code) == (State.FAILED, "disk_full")


async def test_a_job_does_not_begin_on_a_disk_with_too_little_room(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_free", lambda _: 12 << 20)
    settings.targets.write_text('{"targets": {"web-1": {"address": "192.0.2.1"}}}')
    settings.ssh_key.write_text("the key")
    settings.known_hosts.touch()
    job, _ = store.add("run-1", "web-1", ScanType.FAST, begun=True)
    driven = Runner(settings, store, cast("Engine", EndedPrograms()), Feed(), Database(settings.database), job)
    await driven.drive()
    assert (driven.job.state, driven.job.error_code) == (State.FAILED, "disk_full")
    assert "has 12 MiB free, a scan needs 256 MiB. The scan was not started." in str(driven.job.error_sentence)
    assert list(settings.jobs_dir.iterdir()) == []


class RunsOn(EndedPrograms):
    """Stands in for the engine: the programs run and do not end."""

    def observe(self, container_id: str) -> Observation:
        """Return a program that runs, once it was started."""
        return replace(super().observe(container_id), running=True)


@pytest.mark.parametrize(
    ("since", "ends"),
    [(-30.0, True), (-0.5, False), (None, False), (1e9, False)],
    ids=["30 s ago", "just now", "not noted yet", "by the clock of an earlier boot"],
)
async def test_a_program_has_its_limit_across_restarts_whatever_the_time_of_day_says(
    settings: Settings, store: Store, since: float | None, *, ends: bool
) -> None:
    driven = runner(settings.model_copy(update={"scan_timeout": 20}), store, RESULT)
    if since is not None:
        driven.job = store.note_running("run-1", time.monotonic() + since)
    driven._engine = cast("Engine", RunsOn())
    driving = asyncio.create_task(driven.drive())
    done, _ = await asyncio.wait({driving}, timeout=60 if ends else 2)
    assert bool(done) is ends

    def runs_since_a_moment_ago() -> bool:
        known = store.get("run-1")
        since = None if known is None else known.running_since
        return since is not None and abs(since - time.monotonic()) < 10

    if ends:
        assert (driven.job.state, driven.job.error_code) == (State.FAILED, "time_limit")
    else:
        await asyncio.to_thread(wait_until, runs_since_a_moment_ago, 10)
    driven.cancel()
    await driving


def test_each_program_has_a_limit_of_its_own(store: Store) -> None:
    store.add("run-1", "web-1", ScanType.FAST, begun=True)
    store.move("run-1", State.SCANNING)
    store.note_running("run-1", 1.0)
    assert store.move("run-1", State.REPORTING).running_since is None


async def test_a_job_keeps_which_database_its_report_was_made_with(settings: Settings, store: Store) -> None:
    shutil.copy(DEMO_DATA / "base.db", settings.database)
    driven = runner(settings, store, RESULT)
    await driven.drive()
    facts = Database(settings.database).look()
    assert facts is not None
    assert (driven.job.state, driven.job.database_digest) == (State.DONE, facts.digest)
    view = JobView.of(driven.job).database
    assert view is not None
    assert (view.digest, view.modified_at) == (facts.digest, facts.modified_at)


@pytest.mark.parametrize("content", [None, b"", b"no database"])
async def test_a_job_without_a_sound_database_is_assessed_by_vuls_and_says_none(
    settings: Settings, store: Store, content: bytes | None
) -> None:
    if content is not None:
        settings.database.write_bytes(content)
    driven = runner(settings, store, RESULT, report=1)
    await driven.drive()
    assert (driven.job.state, JobView.of(driven.job).database) == (State.DONE, None)


async def test_a_database_that_was_replaced_before_the_start_is_the_one_that_is_kept(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(DEMO_DATA / "base.db", settings.database)
    driven = runner(settings, store, RESULT)
    create = EndedPrograms.create

    def replace(self: EndedPrograms, job: Job, step: Step) -> None:
        create(self, job, step)
        shutil.copy(DEMO_DATA / "next.db", settings.database.with_suffix(".new"))
        settings.database.with_suffix(".new").rename(settings.database)

    monkeypatch.setattr(EndedPrograms, "create", replace)
    await driven.drive()
    facts = Database(settings.database).look()
    assert facts is not None
    assert facts.digest == f"sha256:{hashlib.sha256((DEMO_DATA / 'next.db').read_bytes()).hexdigest()}"
    assert driven.job.database_digest == facts.digest


async def test_a_job_fails_only_after_its_containers_are_gone(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven = runner(settings, store, RESULT[:10])
    states = []

    def remove_job(_: EndedPrograms, job_id: str, step: Step | None = None) -> None:
        job = store.get(job_id)
        assert job is not None
        if step is None:
            states.append(job.state)

    monkeypatch.setattr(EndedPrograms, "remove_job", remove_job)
    await driven.drive()
    assert driven.job.state is State.FAILED
    assert states[0] is State.REPORTING


async def test_a_container_that_is_being_made_when_the_job_is_cancelled_is_removed_too(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven = runner(settings, store, RESULT)
    making, order = threading.Event(), list[str]()

    def create(_: EndedPrograms, job: Job, step: Step) -> None:  # noqa: ARG001
        making.set()
        time.sleep(0.5)
        order.append("made")

    def remove_job(_: EndedPrograms, job_id: str, step: Step | None = None) -> None:  # noqa: ARG001
        if step is None:
            order.append("removed")

    monkeypatch.setattr(EndedPrograms, "create", create)
    monkeypatch.setattr(EndedPrograms, "remove_job", remove_job)
    monkeypatch.setattr("executor.runner.LATE_SECONDS", 30.0)  # it is waited for; how long is a matter of the machine
    driving = asyncio.create_task(driven.drive())
    await asyncio.to_thread(making.wait, 20)
    driven.cancel()
    await driving
    assert (driven.job.state, order) == (State.CANCELLED, ["made", "removed"])
