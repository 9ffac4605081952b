"""The client gets a scan through restarts and busy times, and says plainly when it cannot."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import literal, select
from sqlalchemy.dialects.postgresql import JSONB

from app.db.engine import make_engine
from app.integrations.executor_client import (
    ExecutorClient,
    ExecutorError,
    ExecutorRefused,
    ExecutorUnavailable,
    Job,
    ScanDeadlineExceeded,
    ScanGivenUp,
    UnknownServer,
)
from tests.executor_double import API_KEY, Answer, ExecutorDouble, problem
from tests.services import Database
from tests.waiting import wait_until

DATA = Path(__file__).parents[4] / "tests" / "data" / "vuls"
EXECUTOR = Path(__file__).parents[3] / "docker-executor" / "executor"
REQUEST = {"job_id": "run-15-1", "server": "t1", "scan_type": "fast"}


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[ExecutorDouble]:
    with ExecutorDouble(tmp_path / "executor.sock") as double:
        yield double


@pytest.fixture
def client(executor: ExecutorDouble) -> Iterator[ExecutorClient]:
    client = ExecutorClient(str(executor.socket_path), API_KEY, poll_interval=0.01, patience=5)
    yield client
    client.close()


def run(client: ExecutorClient, deadline: float = 20, given_up: threading.Event | None = None) -> Job:
    return client.run("/scan", REQUEST, deadline, given_up or threading.Event())


def in_background(call: Callable[[], Job]) -> tuple[threading.Thread, list[Job | ExecutorError]]:
    outcome: list[Job | ExecutorError] = []

    def work() -> None:
        try:
            outcome.append(call())
        except ExecutorError as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, outcome


def test_a_job_is_run_to_its_end(client: ExecutorClient, executor: ExecutorDouble) -> None:
    job = run(client)
    assert (job.state, job.scan_exit, job.report_exit) == ("done", 0, 0)
    assert job.result is not None
    assert len(job.result["scannedCves"]) == 9
    assert executor.submitted == [REQUEST]
    assert executor.keys == {API_KEY}


def test_the_same_job_is_joined_not_run_twice(client: ExecutorClient, executor: ExecutorDouble) -> None:
    run(client)
    assert run(client).state == "done"
    assert len(executor.jobs) == 1


def test_a_restart_of_the_executor_is_survived(client: ExecutorClient, executor: ExecutorDouble) -> None:
    executor.let_end.clear()
    thread, outcome = in_background(lambda: run(client))
    assert executor.scanning.wait(60)
    executor.stop()
    executor.let_end.set()
    executor.start()
    thread.join(10)
    assert [job.state for job in outcome if isinstance(job, Job)] == ["done"]


def test_a_job_that_the_executor_forgot_is_sent_again(client: ExecutorClient, executor: ExecutorDouble) -> None:
    executor.let_end.clear()
    thread, outcome = in_background(lambda: run(client))
    assert executor.scanning.wait(60)
    executor.jobs.clear()
    executor.let_end.set()
    thread.join(10)
    assert [job.state for job in outcome if isinstance(job, Job)] == ["done"]
    assert len(executor.submitted) == 2


@pytest.mark.parametrize("answer", [problem(503, "queue_full"), problem(503, "stopping"), (502, b"no gateway")])
def test_a_busy_executor_is_asked_again(client: ExecutorClient, executor: ExecutorDouble, answer: Answer) -> None:
    executor.answers = [answer, answer]
    assert run(client).state == "done"


@pytest.mark.parametrize(
    ("answer", "error", "code", "words"),
    [
        (problem(404, "unknown_server"), UnknownServer, "unknown_server", "no target called t1"),
        (problem(401, "unauthorized", "Wrong key"), ExecutorRefused, "executor_refused", "Wrong key"),
        (problem(409, "job_conflict", "Another body"), ExecutorRefused, "executor_refused", "Another body"),
        (problem(422, "invalid_request", "Bad"), ExecutorRefused, "executor_refused", "Bad"),
        (problem(500, "misconfigured", "No image"), ExecutorRefused, "executor_refused", "No image"),
        ((418, b"<html>"), ExecutorRefused, "executor_refused", "status 418"),
        ((200, b"[]"), ExecutorRefused, "executor_refused", "unknown form"),
        ((200, b"\xff"), ExecutorRefused, "executor_refused", "unknown form"),
    ],
)
def test_a_refusal_is_final_and_says_why(
    client: ExecutorClient, executor: ExecutorDouble, answer: Answer, error: type[ExecutorError], code: str, words: str
) -> None:
    executor.answers = [answer]
    with pytest.raises(error, match=words) as caught:
        run(client)
    assert caught.value.code == code
    assert ".." not in caught.value.sentence


def test_a_job_that_cannot_be_followed_any_more_is_ended(client: ExecutorClient, executor: ExecutorDouble) -> None:
    executor.let_end.clear()
    thread, outcome = in_background(lambda: run(client))
    assert executor.scanning.wait(60)
    executor.answers = [problem(500, "internal", "The disk is full")]
    thread.join(5)
    assert isinstance(outcome[0], ExecutorRefused)
    assert executor.cancelled.is_set()


def test_an_executor_that_stays_away_is_named(tmp_path: Path) -> None:
    client = ExecutorClient(str(tmp_path / "nobody.sock"), API_KEY, patience=0.3)
    with pytest.raises(ExecutorUnavailable, match="does not answer") as caught:
        run(client)
    assert caught.value.code == "executor_unavailable"


def test_an_executor_that_stays_busy_says_why(executor: ExecutorDouble) -> None:
    client = ExecutorClient(str(executor.socket_path), API_KEY, patience=0.3)
    executor.answers = [problem(503, "disk_full", "The disk of the scan host is full.")] * 100
    with pytest.raises(ExecutorRefused, match="took no scan: The disk of the scan host is full"):
        run(client)


def test_a_scan_past_its_deadline_is_ended(client: ExecutorClient, executor: ExecutorDouble) -> None:
    executor.let_end.clear()
    started = time.monotonic()
    with pytest.raises(ScanDeadlineExceeded):
        run(client, deadline=0.3)
    assert time.monotonic() - started < 3
    assert executor.cancelled.is_set()


def test_a_job_is_ended_that_was_taken_though_no_answer_came_back(executor: ExecutorDouble) -> None:
    executor.mute = True
    client = ExecutorClient(str(executor.socket_path), API_KEY, patience=0.3)
    with pytest.raises(ExecutorRefused):
        run(client)
    assert [job["state"] for job in executor.jobs.values()] == ["cancelled"]
    client.close()


def test_an_executor_that_is_away_when_a_scan_is_given_up_is_told_when_it_is_back(
    client: ExecutorClient, executor: ExecutorDouble
) -> None:
    executor.let_end.clear()
    given_up = threading.Event()
    thread, outcome = in_background(lambda: run(client, given_up=given_up))
    assert executor.scanning.wait(60)
    executor.stop()
    given_up.set()
    thread.join(0.5)
    assert thread.is_alive()
    executor.start()
    thread.join(10)
    assert isinstance(outcome[0], ScanGivenUp)
    assert executor.cancelled.is_set()


def test_each_look_is_told_of_the_first_and_the_last_too(client: ExecutorClient, executor: ExecutorDouble) -> None:
    executor.let_end.clear()
    executor.says = {"phase": "connecting"}
    looks: list[Job] = []

    def look(job: Job) -> None:
        looks.append(job)
        if job.phase == "connecting":
            executor.let_end.set()

    client.run("/scan", REQUEST, 20, threading.Event(), look)
    assert [looks[0].state, looks[-1].state] == ["accepted", "done"]
    assert "connecting" in [job.phase for job in looks]


def test_a_scan_that_is_given_up_is_ended_soon(client: ExecutorClient, executor: ExecutorDouble) -> None:
    executor.let_end.clear()
    given_up = threading.Event()
    thread, outcome = in_background(lambda: run(client, given_up=given_up))
    assert executor.scanning.wait(60)
    given_up.set()
    thread.join(5)
    assert isinstance(outcome[0], ScanGivenUp)
    wait_until(executor.cancelled.is_set)


@pytest.mark.parametrize(("state", "over"), [("scanning", False), ("done", True), (None, True)])
def test_a_jobs_end_is_asked_for_once_and_told_when_it_is_there(
    client: ExecutorClient, executor: ExecutorDouble, state: str | None, over: bool
) -> None:
    executor.goes_on = True
    if state is not None:
        executor.jobs["run-15-1"] = {"id": "run-15-1", "server": "t1", "state": state}
    assert client.end("run-15-1") is over


@pytest.mark.parametrize("answer", [problem(503, "away"), problem(401, "unauthorized"), (200, b"no job"), (500, b"")])
def test_a_job_is_not_over_where_the_executor_does_not_say_so(
    client: ExecutorClient, executor: ExecutorDouble, answer: Answer
) -> None:
    executor.answers = [answer]
    with pytest.raises(ExecutorUnavailable):
        client.end("run-15-1")


def test_an_executor_that_is_away_cannot_end_a_job(client: ExecutorClient, executor: ExecutorDouble) -> None:
    executor.stop()
    with pytest.raises(ExecutorUnavailable):
        client.end("run-15-1")


HOSTILE = [case for case in json.loads((DATA / "hostile-results.json").read_text()) if case["passes"]]


@pytest.mark.parametrize("case", HOSTILE, ids=[case["name"] for case in HOSTILE])
def test_what_the_executor_lets_pass_can_be_read_and_stored(database: Database, case: dict[str, Any]) -> None:
    repeated, closed = (case.get(part, "") * case.get("times", 0) for part in ("repeated", "closed"))
    raw = f'{{"serverName": "t1", "x": {case["before"]}{repeated}{case.get("after", "")}{closed}}}'
    command = [sys.executable, str(EXECUTOR / "result_filter.py"), "t1", str(1 << 20)]
    passed = subprocess.run(command, input=raw.encode(), capture_output=True, check=True).stdout
    job = Job.model_validate_json(b'{"id": "run-1", "state": "done", "result": ' + passed + b"}")
    engine = make_engine(database.settings("worker"))
    with engine.connect() as connection:
        stored = connection.execute(select(literal(job.result, JSONB))).scalar_one()
    engine.dispose()
    assert job.result is not None
    assert stored["x"] == case.get("stored", job.result["x"])
