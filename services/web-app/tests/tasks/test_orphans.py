"""What dead processes of this host left behind is ended, as far as the executor can be asked."""

from socket import gethostname

import pytest

from app.config import Settings
from app.db.runs import cancel_run, claim_run
from app.tasks.job_id import job_id
from app.tasks.orphans import look_after_orphans
from app.tasks.process import sessions
from tests.conftest import Sessions
from tests.executor_double import ExecutorDouble
from tests.tasks.runs import queue, stored_run

DEAD = f"{gethostname()}:99999999999999999999:1:x"


@pytest.fixture
def run_id(web: Sessions, worker: Settings, executor: ExecutorDouble) -> int:
    """A run that was cancelled while its process was dead, and whose job goes on."""
    assert worker
    run_id = queue(web)
    with sessions().begin() as session:
        claim = claim_run(session, run_id, DEAD, 60)
        assert claim
        name = job_id(claim.run)
    executor.jobs[name] = {"id": name, "server": "vuls-target-1", "state": "scanning"}
    with web.begin() as session:
        assert cancel_run(session, run_id)
    return run_id


def is_held(web: Sessions, run_id: int) -> bool:
    return stored_run(web, run_id).lease_expires_at is not None


def test_the_job_of_a_run_that_was_cancelled_is_ended_and_its_host_is_free(
    web: Sessions, worker: Settings, executor: ExecutorDouble, run_id: int
) -> None:
    look_after_orphans(worker)
    assert executor.cancelled.is_set()
    assert not is_held(web, run_id)
    assert stored_run(web, run_id).status == "cancelled"


def test_the_host_stays_held_until_the_job_is_over(
    web: Sessions, worker: Settings, executor: ExecutorDouble, run_id: int
) -> None:
    executor.goes_on = True
    look_after_orphans(worker)
    assert executor.cancelled.is_set()
    assert is_held(web, run_id)
    executor.goes_on = False
    look_after_orphans(worker)
    assert not is_held(web, run_id)


def test_an_executor_that_is_away_is_asked_again_at_the_next_look(
    web: Sessions, worker: Settings, executor: ExecutorDouble, run_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    executor.stop()
    look_after_orphans(worker)
    assert "Could not end scans of dead processes" in caplog.text
    assert is_held(web, run_id)
    executor.start()
    look_after_orphans(worker)
    assert not is_held(web, run_id)


def test_a_job_that_never_came_there_holds_nothing(
    web: Sessions, worker: Settings, executor: ExecutorDouble, run_id: int
) -> None:
    executor.jobs.clear()
    look_after_orphans(worker)
    assert not is_held(web, run_id)
