"""A run has one row, one lease at a time, and an event for each change."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.db.events import read_events
from app.db.models import Host, Run
from app.db.runs import (
    Claim,
    cancel_run,
    claim_run,
    create_adhoc_run,
    expire_leases,
    find_run,
    finish_run,
    forget_sent,
    get_run,
    jobs_to_send,
    list_runs,
    mark_sent,
    open_runs,
    recent_runs,
    renew_lease,
    restart_run,
)
from app.domain.permissions import Access, Role
from tests.conftest import Sessions
from tests.db.rows import add_host, queue_run
from tests.services import Database

Maker = Callable[..., Sessions]
ADMIN = Access(1, "root", Role.ADMIN, None)


def statuses(sessions: sessionmaker[Session]) -> list[str]:
    with sessions() as session:
        return [event.data["status"] for event in read_events(session, 0, 100)[1]]


def claim(sessions: sessionmaker[Session], run_id: int, owner: str = "a", seconds: float = 30) -> Claim | None:
    with sessions.begin() as session:
        return claim_run(session, run_id, owner, seconds)


def claimed(sessions: sessionmaker[Session], run_id: int, owner: str = "a", seconds: float = 30) -> Run:
    found = claim(sessions, run_id, owner, seconds)
    assert found is not None
    return found.run


def test_a_run_tells_of_each_change_once(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    run, _ = queue_run(web)
    taken = claimed(worker, run.id)
    with worker.begin() as session:
        assert finish_run(session, taken, "success", {"verdict": "assessed"})
    with web() as session:
        _, events = read_events(session, 0, 10)
        stored = get_run(session, ADMIN, run.id)
    assert [event.data["status"] for event in events] == ["queued", "started", "success"]
    assert {event.host_id for event in events} == {run.host_id}
    assert events[-1].data["result_data"] == {"verdict": "assessed"}
    assert {"task_id", "task_run_id", "task_name", "timestamp", "host_name"} <= events[-1].data.keys()
    assert stored is not None
    assert (stored.status, stored.lease_owner, stored.attempt) == ("success", None, 1)


def test_of_many_deliveries_of_a_job_one_gets_the_run(sessions_as: Maker) -> None:
    worker = sessions_as("worker")
    run, _ = queue_run(sessions_as("web"))
    start = threading.Barrier(8)

    def deliver(number: int) -> Claim | None:
        start.wait()
        return claim(worker, run.id, f"worker-{number}")

    with ThreadPoolExecutor(8) as pool:
        claims = [found for found in pool.map(deliver, range(8)) if found]
    assert len(claims) == 1
    assert statuses(worker) == ["queued", "started"]


def test_a_finished_run_is_never_finished_again(sessions_as: Maker) -> None:
    worker = sessions_as("worker")
    run, _ = queue_run(sessions_as("web"))
    taken = claimed(worker, run.id)
    with worker.begin() as session:
        assert finish_run(session, taken, "success", {})
        assert finish_run(session, taken, "failed", {}) is None
        assert cancel_run(session, run.id) is None
        assert not renew_lease(session, taken, 30)
        assert claim_run(session, run.id, "b", 30) is None
    assert statuses(worker) == ["queued", "started", "success"]


def test_a_job_delivered_after_the_run_was_let_go_joins_the_attempt(sessions_as: Maker) -> None:
    worker = sessions_as("worker")
    run, _ = queue_run(sessions_as("web"))
    silent = claimed(worker, run.id, "scan-1:", seconds=-1)
    joined = claim(worker, run.id, "scan-1:2:2:fresh")
    assert joined is not None
    assert (joined.run.attempt, joined.event) == (silent.attempt, None)
    with worker.begin() as session:
        assert not renew_lease(session, silent, 30)
        assert finish_run(session, silent, "success", {}) is None
        assert finish_run(session, joined.run, "success", {})
    assert statuses(worker) == ["queued", "started", "success"]


@pytest.mark.parametrize("seconds", [30, -1], ids=["heard of", "silent"])
def test_only_runs_of_silent_workers_are_ended(sessions_as: Maker, seconds: float) -> None:
    worker, scheduler = sessions_as("worker"), sessions_as("scheduler")
    run, _ = queue_run(sessions_as("web"))
    taken = claimed(worker, run.id, seconds=seconds)
    with scheduler.begin() as session:
        events = expire_leases(session, {"verdict": "failed"})
    assert len(events) == (1 if seconds < 0 else 0)
    with worker.begin() as session:
        assert (finish_run(session, taken, "success", {}) is None) is (seconds < 0)


def test_a_late_renewal_keeps_the_run_as_long_as_nobody_took_it(sessions_as: Maker) -> None:
    worker, scheduler = sessions_as("worker"), sessions_as("scheduler")
    run, _ = queue_run(sessions_as("web"))
    taken = claimed(worker, run.id, seconds=-1)
    with worker.begin() as session:
        assert renew_lease(session, taken, 30)
    with scheduler.begin() as session:
        assert expire_leases(session, {}) == []


@pytest.mark.parametrize("started", [False, True])
def test_an_open_run_can_be_cancelled(sessions_as: Maker, started: bool) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    run, _ = queue_run(web)
    taken = claimed(worker, run.id) if started else None
    with web.begin() as session:
        assert cancel_run(session, run.id)
    assert claim(worker, run.id) is None
    if taken:
        with worker.begin() as session:
            assert not renew_lease(session, taken, 30)
            assert finish_run(session, taken, "success", {}) is None
    assert statuses(web)[-1] == "cancelled"


def test_a_finished_run_gets_another_attempt(sessions_as: Maker) -> None:
    worker = sessions_as("worker")
    run, _ = queue_run(sessions_as("web"))
    with worker.begin() as session:
        assert restart_run(session, run.id) is None
    first = claimed(worker, run.id)
    with worker.begin() as session:
        finish_run(session, first, "failed", {"verdict": "failed"})
    with worker.begin() as session:
        assert restart_run(session, run.id)
    second = claimed(worker, run.id)
    assert (first.attempt, second.attempt, second.result_data) == (1, 2, {})
    with worker.begin() as session:
        assert finish_run(session, first, "success", {}) is None
        assert finish_run(session, second, "success", {})


def test_an_adhoc_run_has_the_id_it_was_given(sessions_as: Maker) -> None:
    with sessions_as("web").begin() as session:
        add_host(session, host_id=2)
    worker = sessions_as("worker")
    with worker.begin() as session:
        host = session.get_one(Host, 2)
        run, event = create_adhoc_run(session, 999, host, "fast")
    assert (run.id, run.task_id, run.trigger, event.data["task_run_id"]) == (999, 0, "adhoc", 999)


def test_a_run_passes_over_ids_that_adhoc_runs_were_given(sessions_as: Maker) -> None:
    web = sessions_as("web")
    last, _ = queue_run(web, "vuls-target-1")
    with sessions_as("worker").begin() as session:
        host = session.get_one(Host, last.host_id)
        for run_id in (last.id + 1, last.id + 2):
            create_adhoc_run(session, run_id, host, "fast")
    clicked, _ = queue_run(web, "vuls-target-2")
    assert clicked.id == last.id + 3
    with web() as session:
        assert len(list_runs(session, ADMIN)) == 4


def test_a_rolled_back_change_leaves_neither_run_nor_event(sessions_as: Maker) -> None:
    web = sessions_as("web")
    run, _ = queue_run(web)
    worker = sessions_as("worker")
    with worker() as session:
        claim_run(session, run.id, "a", 30)
        session.rollback()
    assert statuses(web) == ["queued"]
    with worker() as session:
        found = find_run(session, run.id)
        assert found is not None
        assert found.status == "queued"


def test_a_job_is_sent_at_once_and_again_after_doubling_waits(sessions_as: Maker, database: Database) -> None:
    run, _ = queue_run(sessions_as("web"))
    scheduler = sessions_as("scheduler")

    def due() -> list[int]:
        with scheduler() as session:
            return [found.id for found in jobs_to_send(session, resend_after=10, greatest_delay=60)]

    def sent_ago(seconds: int) -> None:
        database.execute("UPDATE run SET sent_at = now() - make_interval(secs => %s)", seconds)

    assert due() == [run.id]
    for wait in (10, 20, 40, 60, 60):
        with scheduler.begin() as session:
            mark_sent(session, run.id)
        assert due() == []
        sent_ago(wait - 1)
        assert due() == []
        sent_ago(wait + 1)
        assert due() == [run.id]


def test_jobs_that_redis_may_have_lost_are_due_at_once_and_claimed_ones_are_not(sessions_as: Maker) -> None:
    web, scheduler = sessions_as("web"), sessions_as("scheduler")
    queued, _ = queue_run(web, "vuls-target-1")
    started, _ = queue_run(web, "vuls-target-2")
    with scheduler.begin() as session:
        mark_sent(session, queued.id)
        mark_sent(session, started.id)
    claimed(sessions_as("worker"), started.id)
    with scheduler.begin() as session:
        assert forget_sent(session) == 1
        assert [run.id for run in jobs_to_send(session, 10, 60)] == [queued.id]


def test_a_user_sees_the_runs_of_its_hosts_only(sessions_as: Maker) -> None:
    web = sessions_as("web")
    mine, _ = queue_run(web, "vuls-target-1")
    other, _ = queue_run(web, "vuls-target-2")
    access = Access(2, "vera", Role.VIEWER, frozenset({mine.host_id}))
    with web() as session:
        assert [run.id for run in list_runs(session, ADMIN)] == [other.id, mine.id]
        assert [run.id for run in list_runs(session, access)] == [mine.id]
        assert [run.id for run in open_runs(session, access)] == [mine.id]
        assert get_run(session, access, other.id) is None
        assert list_runs(session, ADMIN, task_id=other.task_id, before=other.id) == []
        assert [run.id for run in list_runs(session, ADMIN, before=other.id)] == [mine.id]
        assert recent_runs(session, ADMIN) == []
