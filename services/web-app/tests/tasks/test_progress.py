"""A scan tells how far it is while it runs, and is not harmed where that cannot be told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from socket import gethostname
from typing import Any

import pytest

from app.config import Settings
from app.db.events import read_events
from app.db.runs import claim_run
from app.domain.envelope import TASK_PROGRESS
from app.domain.owner import nobody_of
from app.domain.progress import MOST
from app.tasks.scan_run import ScanRunner
from tests.conftest import Sessions
from tests.executor_double import ExecutorDouble
from tests.services import Database
from tests.tasks.conftest import Background
from tests.tasks.runs import queue, stored_run, told
from tests.waiting import wait_until


def progress(web: Sessions) -> list[tuple[str, int | None]]:
    with web() as session:
        events = read_events(session, 0, 1000)[1]
    return [(event.data["phase"], event.data["percent"]) for event in events if event.type == TASK_PROGRESS]


def say(executor: ExecutorDouble, phase: str, state: str = "scanning") -> None:
    executor.says = {"state": state, "phase": phase}


@contextmanager
def scanning(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Background, phase: str = "connecting"
) -> Iterator[int]:
    """A scan that goes on until the block ends."""
    executor.let_end.clear()
    say(executor, phase)
    run_id = queue(web)
    thread = background(runner.deliver, run_id)
    wait_until(lambda: phase in [shown for shown, _ in progress(web)])
    try:
        yield run_id
    finally:
        executor.let_end.set()
        thread.join(20)


def test_each_phase_is_told_once_and_before_the_end(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Background
) -> None:
    with scanning(web, runner, executor, background) as run_id:
        for phase in ("collecting_packages", "matching"):
            say(executor, phase)
            wait_until(lambda: stored_run(web, run_id).phase == phase)  # noqa: B023
    assert progress(web) == [("connecting", None), ("collecting_packages", None), ("matching", None)]
    with web() as session:
        assert read_events(session, 0, 1000)[1][-1].data["status"] == "success"
    assert set(stored_run(web, run_id).phase_seconds or {}) == {"connecting", "collecting_packages", "matching"}


def test_a_host_with_history_is_told_a_percent_that_grows(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Background, database: Database
) -> None:
    with scanning(web, runner, executor, background):
        pass
    earlier = """{"connecting": 1, "collecting_packages": 1, "matching": 2}"""
    database.execute("UPDATE run SET phase_seconds = %s", earlier)
    before = len(progress(web))
    with scanning(web, runner, executor, background, "collecting_packages") as run_id:
        wait_until(lambda: (stored_run(web, run_id).percent or 0) >= 46)
        say(executor, "matching")
        wait_until(lambda: (stored_run(web, run_id).percent or 0) > MOST - 5)
    told_of = progress(web)[before:]
    for phase in ("collecting_packages", "matching"):  # in steps: each is a row
        of_phase = [percent or 0 for shown, percent in told_of if shown == phase]
        assert all(later - earlier >= 5 for earlier, later in pairwise(of_phase))
    percents = [percent for _, percent in told_of]
    assert percents[0] is not None
    assert percents[0] >= 25
    assert percents == sorted(percents, key=lambda percent: percent or 0)


def test_a_run_that_another_worker_took_over_goes_on_from_where_it_was(
    web: Sessions,
    runner: ScanRunner,
    executor: ExecutorDouble,
    background: Background,
    database: Database,
    sessions_as: Callable[..., Sessions],
) -> None:
    run_id = queue(web)
    with sessions_as("worker").begin() as session:
        assert claim_run(session, run_id, nobody_of(gethostname()), -1)
    database.execute("UPDATE run SET phase = 'connecting', percent = 40")
    executor.let_end.clear()
    say(executor, "matching")
    thread = background(runner.deliver, run_id)
    wait_until(lambda: stored_run(web, run_id).phase == "matching")
    executor.let_end.set()
    thread.join(20)
    assert progress(web) == [("matching", 40)]
    assert stored_run(web, run_id).phase_seconds is None


def test_without_the_database_progress_is_dropped_and_the_result_is_not(
    web: Sessions,
    runner: ScanRunner,
    executor: ExecutorDouble,
    background: Background,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with scanning(web, runner, executor, background) as run_id:
        with database.away():
            say(executor, "detecting_platform")
            wait_until(lambda: f"Progress of run {run_id} is dropped" in caplog.text)
            say(executor, "matching")
        wait_until(lambda: stored_run(web, run_id).phase == "matching")
    shown = [phase for phase, _ in progress(web)]
    assert (shown[0], shown[-1], shown.count("matching")) == ("connecting", "matching", 1)
    assert told(web)[-1] == (run_id, "success")


@pytest.mark.parametrize("phase", [None, "", "x" * 65, 5])
def test_a_phase_that_cannot_be_one_is_passed_over(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, background: Background, phase: Any
) -> None:
    executor.let_end.clear()
    say(executor, phase)
    run_id = queue(web)
    background(runner.deliver, run_id)
    assert executor.scanning.wait(60)
    executor.let_end.set()
    wait_until(lambda: stored_run(web, run_id).finished_at is not None)
    assert progress(web) == []


def test_progress_comes_at_most_twice_a_second(
    web: Sessions, worker: Settings, runner: ScanRunner, executor: ExecutorDouble, background: Background
) -> None:
    assert worker
    with scanning(web, runner, executor, background):
        stop = threading.Event()

        def flicker() -> None:
            number = 0
            while not stop.wait(0.02):
                number += 1
                say(executor, f"phase_{number}")

        background(flicker)
        wait_until(lambda: len(progress(web)) >= 6, 60)
        stop.set()
    with web() as session:
        times = [event.created_at for event in read_events(session, 0, 1000)[1] if event.type == TASK_PROGRESS]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert min(gaps) > 0.4
