"""An attempt whose worker is gone is joined on the same scan host, which has the job, and nowhere else."""

from collections.abc import Callable

import pytest

from app.db.runs import (
    MOST_TAKEOVERS,
    Claim,
    cancel_run,
    claim_run,
    expire_leases,
    finish_run,
    free_host,
    jobs_to_send,
    left_behind,
    let_go,
    mark_sent,
    restart_run,
)
from tests.conftest import Sessions
from tests.db.rows import queue_run
from tests.services import Database
from tests.tasks.runs import stored_run, told

Maker = Callable[..., Sessions]
DEAD = "scan-1:1:1:dead"


def is_gone(owner: str) -> bool:
    return owner == DEAD or owner.endswith(":")


def claim(worker: Sessions, run_id: int, owner: str = "scan-1:2:2:fresh", seconds: float = 30) -> Claim | None:
    with worker.begin() as session:
        return claim_run(session, run_id, owner, seconds, is_gone)


def free(worker: Sessions, host: str = "scan-1") -> list[int]:
    with worker.begin() as session:
        return let_go(session, host, is_gone, 30)


def due(sessions_as: Maker) -> list[int]:
    with sessions_as("scheduler")() as session:
        return [run.id for run in jobs_to_send(session, 3600, 3600)]


@pytest.mark.parametrize(
    ("before", "seconds", "after", "joins"),
    [
        (DEAD, 30, "scan-1:2:2:fresh", True),
        (DEAD, -1, "scan-1:2:2:fresh", True),
        ("scan-1:3:3:alive", 30, "scan-1:2:2:fresh", False),
        ("scan-1:3:3:alive", -1, "scan-1:2:2:fresh", False),  # it would end the job that both have
        ("scan-1:", -1, "scan-1:2:2:fresh", True),
        ("scan-2:", 30, "scan-1:2:2:fresh", False),
        (DEAD, 30, "scan-2:2:2:fresh", False),
        (DEAD, -1, "scan-2:2:2:fresh", False),
    ],
    ids=[
        "dead",
        "dead and silent",
        "alive",
        "alive and silent",
        "let go",
        "let go elsewhere",
        "elsewhere",
        "elsewhere and silent",
    ],
)
def test_who_may_join_an_attempt(sessions_as: Maker, before: str, seconds: float, after: str, joins: bool) -> None:
    worker = sessions_as("worker")
    run, _ = queue_run(sessions_as("web"))
    assert claim(worker, run.id, before, seconds)
    joined = claim(worker, run.id, after)
    assert (joined is not None) is joins
    if joined is not None:
        assert (joined.run.attempt, joined.run.takeovers, joined.event) == (1, 1, None)
        assert claim(worker, run.id, "scan-1:4:4:third") is None
    assert told(worker) == [(run.id, "queued"), (run.id, "started")]


def test_a_run_that_was_let_go_is_sent_again_at_once_and_joined(sessions_as: Maker, database: Database) -> None:
    worker = sessions_as("worker")
    run, _ = queue_run(sessions_as("web"))
    with sessions_as("scheduler").begin() as session:
        mark_sent(session, run.id)
    database.execute("UPDATE run SET sent_at = now() - interval '2 seconds'")
    assert claim(worker, run.id, DEAD)
    assert due(sessions_as) == []
    assert free(worker, "scan") == free(worker, "scan-2") == []
    assert free(worker) == [run.id]
    assert free(worker) == []
    assert due(sessions_as) == [run.id]
    with sessions_as("scheduler").begin() as session:
        mark_sent(session, run.id)
    assert due(sessions_as) == []
    database.execute("UPDATE run SET sent_at = now() - interval '2 seconds'")
    assert due(sessions_as) == [run.id]  # a worker of another scan host may have got the job
    assert claim(worker, run.id, "scan-2:2:2:fresh") is None
    assert claim(worker, run.id)
    assert due(sessions_as) == []


def test_a_run_that_was_let_go_and_that_nobody_joins_ends_with_its_lease(
    sessions_as: Maker, database: Database
) -> None:
    worker = sessions_as("worker")
    run, _ = queue_run(sessions_as("web"))
    claim(worker, run.id, DEAD)
    free(worker)
    with sessions_as("scheduler").begin() as session:
        assert expire_leases(session, {}) == []
    database.execute("UPDATE run SET lease_expires_at = now() - interval '1 second'")
    with sessions_as("scheduler").begin() as session:
        assert len(expire_leases(session, {})) == 1
    assert stored_run(worker, run.id).status == "failed"


def test_only_the_runs_of_processes_that_are_gone_are_let_go(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    runs = [queue_run(web, f"vuls-target-{number}")[0] for number in range(4)]
    for run, owner in zip(runs, [DEAD, "scan-1:3:3:alive", "scan-2:1:1:dead", "scan-11:1:1:dead"], strict=True):
        assert claim(worker, run.id, owner)
    foreign, _ = queue_run(web, "elsewhere", "other")
    assert claim(sessions_as("worker", zone="other"), foreign.id, DEAD)
    assert free(worker) == [runs[0].id]


def test_an_attempt_that_kills_every_worker_is_given_up(sessions_as: Maker, database: Database) -> None:
    worker = sessions_as("worker")
    run, _ = queue_run(sessions_as("web"))
    assert claim(worker, run.id, DEAD)
    for _ in range(MOST_TAKEOVERS):
        assert claim(worker, run.id, DEAD)
    assert claim(worker, run.id) is None
    assert free(worker) == []
    database.execute("UPDATE run SET lease_expires_at = now() - interval '1 second'")
    assert claim(worker, run.id) is None
    with sessions_as("scheduler").begin() as session:
        assert len(expire_leases(session, {})) == 1


def left(worker: Sessions, host: str = "scan-1") -> list[int]:
    with worker() as session:
        return [run.id for run in left_behind(session, host, is_gone)]


@pytest.mark.parametrize("end", ["cancelled", "lost", "let go and cancelled", "cancelled and queued again"])
def test_what_a_dead_process_left_behind_is_known_until_it_is_over(
    sessions_as: Maker, database: Database, end: str
) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    run, _ = queue_run(web)
    assert claim(worker, run.id, DEAD)
    assert left(worker) == []  # it may be joined
    if end == "let go and cancelled":
        assert free(worker) == [run.id]
    if end == "lost":
        database.execute("UPDATE run SET lease_expires_at = now() - interval '1 second'")
        with sessions_as("scheduler").begin() as session:
            assert expire_leases(session, {})
    else:
        with web.begin() as session:
            assert cancel_run(session, run.id)
    if end == "cancelled and queued again":
        with worker.begin() as session:
            assert restart_run(session, run.id)
    assert left(worker) == [run.id]
    assert left(worker, "scan-2") == left(worker, "scan") == left(sessions_as("worker", zone="other")) == []
    with worker.begin() as session:
        free_host(session, stored_run(web, run.id))
    assert left(worker) == []
    ended = stored_run(web, run.id)
    assert (ended.lease_owner, ended.lease_expires_at) == (None, None)


def test_what_a_process_that_lives_has_ended_is_its_own_to_end(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    run, _ = queue_run(web)
    claimed = claim(worker, run.id, "scan-1:3:3:alive")
    assert claimed
    with web.begin() as session:
        assert cancel_run(session, run.id)
    assert left(worker) == []


@pytest.mark.parametrize("goes_on", [True, False])
def test_nothing_is_left_behind_by_a_run_that_its_process_ended_with_its_scan(
    sessions_as: Maker, goes_on: bool
) -> None:
    worker = sessions_as("worker")
    run, _ = queue_run(sessions_as("web"))
    claimed = claim(worker, run.id, DEAD)
    assert claimed
    with worker.begin() as session:
        assert finish_run(session, claimed.run, "failed", {}, goes_on=goes_on)
    assert left(worker) == ([run.id] if goes_on else [])
