"""Progress is a claimed run's only, and estimates go by the host's own good scans."""

from collections.abc import Callable

import pytest
from sqlalchemy.exc import ProgrammingError

from app.db.events import read_events
from app.db.models import Run
from app.db.progress import earlier_seconds, note_progress
from app.db.runs import Claim, cancel_run, claim_run, create_run, finish_run, get_run, restart_run, run_json
from app.domain.envelope import TASK_PROGRESS
from app.domain.permissions import Access, Role
from tests.conftest import Sessions
from tests.db.rows import add_task, queue_run

Maker = Callable[..., Sessions]
ADMIN = Access(1, "root", Role.ADMIN, None)


def claimed(worker: Sessions, run_id: int, seconds: float = 30) -> Run:
    with worker.begin() as session:
        claim: Claim | None = claim_run(session, run_id, "a", seconds)
    assert claim is not None
    return claim.run


def test_progress_is_on_the_row_and_in_an_event_of_the_same_transaction(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    run = claimed(worker, queue_run(web)[0].id)
    with worker() as session:
        assert note_progress(session, run, "connecting", 12)
        session.rollback()
    with worker.begin() as session:
        assert note_progress(session, run, "connecting", 17)
    with web() as session:
        stored = get_run(session, ADMIN, run.id)
        (event,) = [event for event in read_events(session, 0, 100)[1] if event.type == TASK_PROGRESS]
    assert (event.data["task_run_id"], event.data["phase"], event.data["percent"]) == (run.id, "connecting", 17)
    assert (event.host_id, event.data["host_name"]) == (run.host_id, "vuls-target-1")
    assert stored is not None
    shown = run_json(stored)
    assert (shown["phase"], shown["percent"]) == ("connecting", 17)


@pytest.mark.parametrize("end", ["finished", "cancelled", "given away"])
def test_there_is_none_of_a_run_that_is_the_claimants_no_longer(sessions_as: Maker, end: str) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    run = claimed(worker, queue_run(web)[0].id, seconds=-1 if end == "given away" else 30)
    with worker.begin() as session:
        if end == "finished":
            assert finish_run(session, run, "success", {})
        elif end == "cancelled":
            assert cancel_run(session, run.id)
        else:
            assert claim_run(session, run.id, "a:2:2:b", 30, lambda _: True)
    with worker.begin() as session:
        assert note_progress(session, run, "matching", 90) is None
    with web() as session:
        assert TASK_PROGRESS not in [event.type for event in read_events(session, 0, 100)[1]]


def test_only_the_worker_says_how_far_a_run_is(sessions_as: Maker) -> None:
    run = claimed(sessions_as("worker"), queue_run(sessions_as("web"))[0].id)
    for component in ("web", "scheduler"):
        with sessions_as(component)() as session, pytest.raises(ProgrammingError, match="permission denied"):
            note_progress(session, run, "matching", 90)


def test_another_attempt_begins_without_progress(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    run = claimed(worker, queue_run(web)[0].id)
    with worker.begin() as session:
        note_progress(session, run, "matching", 90)
        finish_run(session, run, "failed", {})
        restart_run(session, run.id)
    again = claimed(worker, run.id)
    assert (again.phase, again.percent) == (None, None)


def test_estimates_go_by_the_last_scans_of_the_same_host_and_kind(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    with web.begin() as session:
        tasks = [add_task(session, name) for name in ("vuls-target-1", "vuls-target-2")]

    def scan(place: int, seconds: float | None, scan_type: str = "fast") -> Run:
        with web.begin() as session:
            task = session.merge(tasks[place])
            task.scan_type = scan_type
            queued, _ = create_run(session, task, "manual")
        run = claimed(worker, queued.id)
        with worker.begin() as session:
            assert finish_run(session, run, "success", {}, None if seconds is None else {"matching": seconds})
        return run

    for seconds in (100.0, 1.0, 1.0, 1.0, 1.0, 6.0):
        last = scan(0, seconds)
    scan(0, None)
    scan(0, 1000.0, "deep")
    other = scan(1, None)
    with worker() as session:
        assert earlier_seconds(session, last)["matching"] == 2.0
        assert earlier_seconds(session, other) == {}
