"""One scan of a host at a time, and no more of a zone and a hypervisor than their limits allow."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.db.models import Run, ScheduledTask
from app.db.runs import (
    Claim,
    cancel_run,
    claim_run,
    create_host_run,
    create_run,
    expire_leases,
    finish_run,
    free_host,
    jobs_to_send,
    mark_sent,
    restart_run,
)
from app.domain.room import Limits
from app.domain.status import HostRunKind
from tests.conftest import Sessions
from tests.db.rows import add_task, queue_run
from tests.services import Database
from tests.tasks.runs import stored_run

Maker = Callable[..., Sessions]


def queue_again(web: Sessions, run: Run) -> int:
    """Another run of a run's task."""
    with web.begin() as session:
        return create_run(session, session.get_one(ScheduledTask, run.task_id), "manual", "anna")[0].id


def queue_in(
    web: Sessions, name: str, group: str | None = None, zone: str = "default", kind: HostRunKind | None = None
) -> int:
    with web.begin() as session:
        task = add_task(session, name, zone)
        task.host.hypervisor_group = group
        if kind is not None:
            return create_host_run(session, task.host, kind, "anna")[0].id
        return create_run(session, task, "manual", "anna")[0].id


def claim(worker: Sessions, run_id: int, group_limit: int = 0) -> Claim | None:
    with worker.begin() as session:
        return claim_run(session, run_id, f"scan-1:1:1:{run_id}", 30, group_limit=group_limit)


def finish(worker: Sessions, found: Claim | None) -> None:
    assert found is not None
    with worker.begin() as session:
        assert finish_run(session, found.run, "success", {})


def due(sessions_as: Maker, limits: Limits | None = None, limit: int = 100) -> list[int]:
    with sessions_as("scheduler")() as session:
        return [run.id for run in jobs_to_send(session, 3600, 3600, limits or Limits(), limit)]


def send(sessions_as: Maker, *run_ids: int) -> None:
    with sessions_as("scheduler").begin() as session:
        for run_id in run_ids:
            mark_sent(session, run_id)


def test_the_second_run_of_a_host_waits_unsent_and_unclaimed_until_the_first_ends(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    first, _ = queue_run(web)
    second = queue_again(web, first)
    assert due(sessions_as) == [first.id]
    send(sessions_as, first.id)
    assert due(sessions_as) == []
    held = claim(worker, first.id)
    assert due(sessions_as) == []
    assert claim(worker, second) is None
    assert stored_run(web, second).status == "queued"
    finish(worker, held)
    assert due(sessions_as) == [second]
    assert claim(worker, second)


def test_a_job_that_a_worker_gave_back_is_sent_again_as_soon_as_its_host_is_free(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    first, _ = queue_run(web)
    second = queue_again(web, first)
    send(sessions_as, first.id, second)
    held = claim(worker, first.id)
    assert claim(worker, second) is None
    finish(worker, held)
    assert due(sessions_as) == [second]


def test_a_job_that_was_sent_is_not_sent_again_while_its_host_is_scanned(
    sessions_as: Maker, database: Database
) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    first, _ = queue_run(web)
    second = queue_again(web, first)
    send(sessions_as, first.id, second)
    held = claim(worker, first.id)
    database.execute("UPDATE run SET sent_at = now() - interval '2 hours'")
    assert due(sessions_as) == []
    finish(worker, held)
    assert due(sessions_as) == [second]


def test_of_two_claims_for_a_host_at_the_same_moment_one_is_refused(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    for number in range(5):
        first, _ = queue_run(web, f"vuls-target-{number}")
        runs = [first.id, queue_again(web, first), queue_again(web, first), queue_again(web, first)]
        start = threading.Barrier(len(runs))

        def deliver(run_id: int, start: threading.Barrier = start) -> Claim | None:
            start.wait()
            return claim(worker, run_id)

        with ThreadPoolExecutor(len(runs)) as pool:
            assert sum(found is not None for found in pool.map(deliver, runs)) == 1


@pytest.mark.parametrize("how", ["cancelled", "lost"])
def test_a_host_stays_held_while_a_scan_that_others_ended_may_go_on(
    sessions_as: Maker, database: Database, how: str
) -> None:
    web, worker, scheduler = sessions_as("web"), sessions_as("worker"), sessions_as("scheduler")
    first, _ = queue_run(web)
    second = queue_again(web, first)
    held = claim(worker, first.id)
    assert held is not None
    if how == "lost":
        database.execute("UPDATE run SET lease_expires_at = now() - interval '1 second' WHERE id = %s", first.id)
    with (web if how == "cancelled" else scheduler).begin() as session:
        assert cancel_run(session, first.id) if how == "cancelled" else expire_leases(session, {})
    assert due(sessions_as) == []
    assert claim(worker, second) is None
    if how == "cancelled":  # its worker is there, and says that the executor has ended the job
        with worker.begin() as session:
            free_host(session, held.run)
    else:
        database.execute("UPDATE run SET lease_expires_at = now() - interval '1 second' WHERE id = %s", first.id)
    assert due(sessions_as) == [second]
    assert claim(worker, second)


def test_a_host_that_another_attempt_holds_is_not_freed_by_the_one_before(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    first, _ = queue_run(web)
    held = claim(worker, first.id)
    assert held is not None
    with worker.begin() as session:
        free_host(session, held.run)
    assert stored_run(web, first.id).lease_expires_at is not None


def test_a_queued_run_that_is_cancelled_holds_nothing(sessions_as: Maker) -> None:
    web = sessions_as("web")
    first, _ = queue_run(web)
    second = queue_again(web, first)
    with web.begin() as session:
        assert cancel_run(session, first.id)
    assert due(sessions_as) == [second]


def test_a_run_that_is_cancelled_while_it_waits_for_its_own_earlier_attempt_keeps_the_hold(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    first, _ = queue_run(web)
    second = queue_again(web, first)
    assert claim(worker, first.id)
    with web.begin() as session:
        assert cancel_run(session, first.id)
    with worker.begin() as session:
        assert restart_run(session, first.id)
    with web.begin() as session:
        assert cancel_run(session, first.id)
    assert due(sessions_as) == []
    assert claim(worker, second) is None


def test_a_zone_gets_as_many_jobs_as_it_may_have_and_others_are_not_held_up(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    mine = [queue_in(web, f"vuls-target-{number}") for number in range(4)]
    foreign = queue_in(web, "elsewhere", zone="other")
    limits = Limits(zones={"default": 2})
    assert due(sessions_as, limits) == [*mine[:2], foreign]
    send(sessions_as, *mine[:2], foreign)
    assert due(sessions_as, limits) == []
    held = claim(worker, mine[0])
    assert due(sessions_as, limits) == []
    finish(worker, held)
    assert due(sessions_as, limits) == [mine[2]]


def test_a_hypervisor_gets_as_many_scans_as_it_may_have_and_others_are_not_held_up(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    grouped = [queue_in(web, f"vuls-target-{number}", "rack-1") for number in range(3)]
    others = [queue_in(web, "alone"), queue_in(web, "elsewhere", "rack-2")]
    limits = Limits(group=2)
    assert due(sessions_as, limits) == [*grouped[:2], *others]
    first = claim(worker, grouped[0], 2)
    assert claim(worker, grouped[1], 2)
    assert claim(worker, grouped[2], 2) is None
    assert claim(worker, others[0], 2)
    assert due(sessions_as, limits) == [others[1]]
    finish(worker, first)
    assert due(sessions_as, limits) == [grouped[2], others[1]]
    assert claim(worker, grouped[2], 2)


def test_of_many_claims_at_the_same_moment_a_hypervisor_gets_no_more_than_its_limit(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    runs = [queue_in(web, f"vuls-target-{number}", "rack-1") for number in range(6)]
    start = threading.Barrier(len(runs))

    def deliver(run_id: int) -> Claim | None:
        start.wait()
        return claim(worker, run_id, 2)

    with ThreadPoolExecutor(len(runs)) as pool:
        assert sum(found is not None for found in pool.map(deliver, runs)) == 2


def test_a_full_group_hides_nobody_however_many_wait_in_it(sessions_as: Maker, database: Database) -> None:
    web = sessions_as("web")
    first = queue_in(web, "vuls-target-1", "rack-1")
    database.execute(
        "INSERT INTO host (id, name, address, hypervisor_group)"
        " SELECT 1000 + n, 'h' || n, 'h' || n, 'rack-1' FROM generate_series(1, 300) n"
    )
    database.execute(
        "INSERT INTO run (task_name, host_id, zone, scan_type, trigger)"
        " SELECT 'x', 1000 + n, 'default', 'fast', 'adhoc' FROM generate_series(1, 300) n"
    )
    last = queue_in(web, "alone")
    assert due(sessions_as, Limits(group=1)) == [first, last]


def test_a_job_that_a_full_hypervisor_refuses_is_not_sent_again_at_once(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    runs = [queue_in(web, f"vuls-target-{number}", "rack-1") for number in range(2)]
    send(sessions_as, *runs)
    assert claim(worker, runs[0], 1)
    assert claim(worker, runs[1], 1) is None
    assert due(sessions_as) == []  # the scheduler of this test knows no limit


def test_a_run_that_waits_unsent_is_not_written_with_each_refusal(sessions_as: Maker, database: Database) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    first, _ = queue_run(web)
    second = queue_again(web, first)
    assert claim(worker, first.id)
    before = database.execute("SELECT xmin::text FROM run WHERE id = %s", second)
    assert claim(worker, second) is None
    assert database.execute("SELECT xmin::text FROM run WHERE id = %s", second) == before


def test_a_zone_without_workers_does_not_keep_a_hypervisor_from_others(sessions_as: Maker, database: Database) -> None:
    web = sessions_as("web")
    dead = [queue_in(web, f"vuls-target-{number}", "rack-1", "dead") for number in range(2)]
    alive = queue_in(web, "alive", "rack-1")
    limits = Limits(group=2)
    send(sessions_as, *dead)
    assert due(sessions_as, limits) == []
    database.execute("UPDATE run SET sent_at = now() - interval '2 hours', sent_count = 5 WHERE zone = 'dead'")
    assert alive in due(sessions_as, limits)


def test_assessing_anew_takes_room_of_its_host_only(sessions_as: Maker) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    assessed = [queue_in(web, f"vuls-target-{number}", "rack-1", kind="reassess") for number in range(3)]
    scans = [queue_in(web, f"vuls-target-{number}", "rack-1") for number in range(3, 5)]
    limits = Limits(zones={"default": 1}, group=1)
    assert due(sessions_as, limits) == [*assessed, scans[0]]
    for run_id in assessed:
        assert claim(worker, run_id, 1)
    assert claim(worker, scans[0], 1)
    assert claim(worker, scans[1], 1) is None


def test_of_the_unsent_runs_of_each_host_the_oldest_is_sent(sessions_as: Maker) -> None:
    web = sessions_as("web")
    runs = [queue_run(web, f"vuls-target-{number}")[0] for number in (2, 1, 3)]
    for run in reversed(runs):
        queue_again(web, run)
    assert due(sessions_as) == [run.id for run in runs]
    assert due(sessions_as, limit=2) == [run.id for run in runs[:2]]
