import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from executor.database import Facts
from executor.jobs import NEXT, Kind, ScanType, State, Step
from executor.problems import JobConflict
from executor.settings import ConfigurationError
from executor.store import MIGRATIONS, IllegalMove, Store
from tests.harness import fill

WAY = [State.PREPARING, State.SCANNING, State.REPORTING, State.DONE]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "jobs.sqlite3")
    yield made
    made.close()


def go(store: Store, job_id: str, to: State) -> None:
    """Bring a new job to a state on the shortest way."""
    way = [*WAY[: WAY.index(to)], to] if to in WAY else [*WAY[:3], to]
    for state in way if to is not State.ACCEPTED else []:
        store.move(job_id, state)


def test_the_same_job_again_is_the_same_job(store: Store) -> None:
    first, new = store.add("run-1", "web-1", ScanType.FAST)
    again, new_again = store.add("run-1", "web-1", ScanType.FAST)
    assert (new, new_again) == (True, False)
    assert again == first
    assert first.state is State.ACCEPTED


def test_an_id_with_another_body_is_a_conflict(store: Store) -> None:
    store.add("run-1", "web-1", ScanType.FAST)
    with pytest.raises(JobConflict):
        store.add("run-1", "web-2", ScanType.FAST)
    with pytest.raises(JobConflict):
        store.add("run-1", "web-1", ScanType.DEEP)


def test_an_id_is_taken_once_however_many_ask_at_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        flags = list(pool.map(lambda _: store.add("run-1", "web-1", ScanType.FAST)[1], range(40)))
    assert flags.count(True) == 1


@pytest.mark.parametrize("start", list(State))
@pytest.mark.parametrize("to", list(State))
def test_only_the_moves_of_the_state_machine_are_made(store: Store, start: State, to: State) -> None:
    store.add("run-1", "web-1", ScanType.FAST)
    go(store, "run-1", start)
    if to in NEXT[start]:
        assert store.move("run-1", to).state is to
    else:
        with pytest.raises(IllegalMove):
            store.move("run-1", to)
        assert (job := store.get("run-1")) is not None
        assert job.state is start


def test_nothing_is_forgotten_when_the_process_dies(tmp_path: Path) -> None:
    store = Store(tmp_path / "jobs.sqlite3")
    store.add("run-1", "web-1", ScanType.DEEP)
    go(store, "run-1", State.SCANNING)
    store.note_progress("run-1", Step.SCAN, "connecting", ["a line"])
    store.note_exit("run-1", Step.SCAN, 1)
    before = store.request_cancel("run-1")
    store._owner.close()  # the lock goes with the process; the database is never closed
    after = Store(tmp_path / "jobs.sqlite3").get("run-1")
    assert after == before
    assert before.scan_log == ("a line",)
    assert (before.scan_exit, before.report_exit, before.cancel_requested) == (1, None, True)


def test_jobs_are_served_in_the_order_they_came(store: Store) -> None:
    for number in (2, 1, 3):
        store.add(f"run-{number}", "web-1", ScanType.FAST)
    assert store.count_queued() == 3
    job = store.next_queued()
    assert job is not None
    assert job.id == "run-2"
    store.move("run-2", State.PREPARING)
    assert [job.id for job in store.unfinished()] == ["run-2", "run-1", "run-3"]
    assert store.count_queued() == 2


def test_a_result_comes_back_as_it_was(store: Store) -> None:
    store.add("run-1", "web-1", ScanType.FAST)
    go(store, "run-1", State.REPORTING)
    assert store.result("run-1") is None
    text = '{"serverName":"web-1","x":"\\ud800 ü"}'
    job = store.move("run-1", State.DONE, phase="finished", result=text)
    assert job.finished_at is not None
    assert store.result("run-1") == text
    assert store.result("no-such-job") is None


def test_jobs_are_purged_that_ended_long_ago_by_the_tables_own_age(store: Store) -> None:
    for job_id in ("old", "late", "running"):
        store.add(job_id, "web-1", ScanType.FAST)
    store.move("old", State.CANCELLED)
    assert store.purge(60, 100) == 0
    store.move("late", State.CANCELLED)
    assert store.purge(39, 100) == 0
    assert store.purge(1, 100) == 1
    assert {job_id for job_id in ("old", "late", "running") if store.get(job_id)} == {"late", "running"}


@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_jumps_deletes_no_result(store: Store, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    by_that_clock = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    monkeypatch.setattr("executor.store._now", lambda: by_that_clock)
    store.add("run-1", "web-1", ScanType.FAST, begun=True)
    for state in (State.SCANNING, State.REPORTING):
        store.move("run-1", state)
    store.move("run-1", State.DONE, result="{}")
    assert store.purge(60, 24 * 3600) == 0
    assert store.result("run-1") == "{}"


def test_a_job_may_begin_as_it_is_stored(store: Store) -> None:
    job, new = store.add("run-1", "web-1", ScanType.FAST, begun=True)
    store.add("run-2", "web-1", ScanType.FAST)
    moved = store.move("run-2", State.PREPARING, phase="preparing")
    assert (new, job.state, job.phase, job.started_at is not None) == (True, moved.state, moved.phase, True)
    assert store.next_queued() is None


def add_until_full(store: Store) -> str:
    """Use up the room that is left; return the job that found none."""
    for number in range(1000):
        try:
            store.add(f"run-{number}", "web-1", ScanType.FAST)
        except sqlite3.OperationalError as error:
            assert error.sqlite_errorcode == sqlite3.SQLITE_FULL, error  # noqa: PT017 (after any number of jobs)
            return f"run-{number}"
    raise AssertionError("there was room for all")


def test_a_full_file_loses_nothing_and_is_written_again_when_there_is_room(store: Store) -> None:
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    refused = add_until_full(store)
    before = store.unfinished()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.add(refused, "w" * 63, ScanType.FAST, begun=True)
    assert store.get(refused) is None
    assert store.unfinished() == before
    store._db.execute("PRAGMA max_page_count = 4294967294")
    assert store.add(refused, "web-1", ScanType.FAST)[1]


def test_a_full_disk_loses_nothing_and_is_written_again_when_there_is_room(
    tmp_path: Path, small_disk: Callable[[Path, int], None]
) -> None:
    small_disk(tmp_path / "disk", 512)
    store = Store(tmp_path / "disk" / "jobs.sqlite3")
    ballast = fill(tmp_path / "disk")
    refused = add_until_full(store)  # at the commit: until then all is in memory
    assert not store._db.in_transaction
    assert store.get(refused) is None
    ballast.unlink()
    assert store.add(refused, "web-1", ScanType.FAST)[1]
    store.close()


def test_a_table_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="newer than this release"):
        Store(tmp_path / "jobs.sqlite3")


def test_the_file_is_for_its_owner_only(store: Store, tmp_path: Path) -> None:
    store.add("run-1", "web-1", ScanType.FAST)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir() if path.suffix != ".lock"} == {0}


def test_the_database_that_a_job_was_assessed_with_is_kept(store: Store) -> None:
    store.add("run-1", "web-1", ScanType.FAST)
    go(store, "run-1", State.SCANNING)
    database = Facts("sha256:" + "0" * 64, datetime(2026, 11, 23, 5, 50, tzinfo=UTC), 0, 1, "a test")
    assert store.move("run-1", State.REPORTING).database_digest is None
    assert store.note_database("run-1", database).database_digest == database.digest
    job = store.move("run-1", State.DONE)
    assert (job.database_digest, job.database_modified_at) == (database.digest, database.modified_at)


def test_a_table_of_the_first_release_is_brought_up_with_its_jobs(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    with sqlite3.connect(path) as db:
        db.executescript(f"{MIGRATIONS[0]} PRAGMA user_version = 1;")
        db.execute(
            "INSERT INTO jobs (id, server, scan_type, state, phase, created_at)"
            " VALUES ('run-1', 'web-1', 'fast', 'scanning', 'connecting', '2026-11-23T05:50:00+00:00')"
        )
    db.close()
    store = Store(path)
    job = store.get("run-1")
    assert job is not None
    assert (job.state, job.database_digest, job.database_modified_at) == (State.SCANNING, None, None)
    assert (job.kind, job.given_digest) == (Kind.SCAN, None)
    assert store.add("run-1", "web-1", ScanType.FAST)[1] is False
    assert store.move("run-1", State.REPORTING).state is State.REPORTING
    store.close()
    again = Store(path)
    assert again._db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    again.close()


def test_a_job_of_another_kind_or_about_another_result_is_another(store: Store) -> None:
    store.add("run-1", "web-1", ScanType.FAST, kind=Kind.ASSESS, given="{}")
    assert store.add("run-1", "web-1", ScanType.FAST, kind=Kind.ASSESS, given="{}")[1] is False
    for kind, given in ((Kind.SCAN, None), (Kind.CHECK, None), (Kind.ASSESS, '{"a":1}')):
        with pytest.raises(JobConflict):
            store.add("run-1", "web-1", ScanType.FAST, kind=kind, given=given)


def test_a_result_to_assess_is_kept_until_the_job_has_it(store: Store) -> None:
    store.add("run-1", "web-1", ScanType.FAST, kind=Kind.ASSESS, given='{"x":"ü"}')
    store.move("run-1", State.PREPARING)
    assert store.given("run-1") == '{"x":"ü"}'
    store.move("run-1", State.REPORTING)
    assert store.given("run-1") is None
