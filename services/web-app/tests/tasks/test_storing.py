"""The end of a scan is stored, however long the database is away, or ends with a reason where it never takes it."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from socket import gethostname

import pytest

from app.config import Settings
from app.domain.owner import nobody_of
from app.tasks import scan_run
from app.tasks.process import sessions
from app.tasks.scan_run import ScanRunner
from tests.conftest import Sessions
from tests.executor_double import ExecutorDouble
from tests.services import Database
from tests.tasks.conftest import Background
from tests.tasks.runs import queue, stored_run, told
from tests.waiting import wait_until

DEADLINE = 8  # seconds
Outage = Callable[[Database], AbstractContextManager[None]]
RAISES = """
CREATE SEQUENCE refusals;
GRANT USAGE ON refusals TO PUBLIC;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('refusals') <= {times} THEN RAISE 'Words of PostgreSQL' USING ERRCODE = '{sqlstate}'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW {when} EXECUTE FUNCTION refuse();
"""
CALM = "DROP TRIGGER refuse ON {table}; DROP FUNCTION refuse; DROP SEQUENCE refusals;"


@contextmanager
def refusing(
    database: Database, sqlstate: str, times: int = 1000, table: str = "scan", when: str = ""
) -> Iterator[None]:
    """Have the database refuse so many rows of a table, as it does on its own in ways that are hard to bring about."""
    database.execute(RAISES.format(sqlstate=sqlstate, times=times, table=table, when=when))
    try:
        yield
    finally:
        database.execute(CALM.format(table=table))


@pytest.fixture
def impatient(worker: Settings, monkeypatch: pytest.MonkeyPatch) -> ScanRunner:
    """A worker whose scans may take some seconds, and that waits for a minute to store their end."""
    monkeypatch.setattr(scan_run, "_TRIES", dict.fromkeys(scan_run._TRIES, 3))
    return ScanRunner(worker.model_copy(update={"scan_deadline": DEADLINE, "store_patience": 60}), sessions())


@pytest.mark.parametrize("outage", [Database.away, Database.read_only], ids=["away", "read only"])
def test_an_outage_that_is_longer_than_a_scan_may_be_loses_nothing(
    web: Sessions,
    impatient: ScanRunner,
    executor: ExecutorDouble,
    database: Database,
    background: Background,
    caplog: pytest.LogCaptureFixture,
    outage: Outage,
) -> None:
    executor.let_end.clear()
    run_id = queue(web)
    scanning = background(impatient.deliver, run_id)
    assert executor.scanning.wait(60)
    with outage(database):
        executor.let_end.set()
        wait_until(lambda: "The database is away" in caplog.text)
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > DEADLINE, 2 * DEADLINE)
        assert scanning.is_alive()
    scanning.join(20)
    assert stored_run(web, run_id).status == "success"
    assert told(web) == [(run_id, "queued"), (run_id, "started"), (run_id, "success")]
    assert database.execute("SELECT count(*) FROM scan") == [(1,)]


@pytest.mark.parametrize("sqlstate", ["40P01", "55P03", "57014", "53100"])
def test_what_is_refused_once_is_tried_again(
    web: Sessions, impatient: ScanRunner, database: Database, sqlstate: str
) -> None:
    run_id = queue(web)
    with refusing(database, sqlstate, times=2):
        impatient.deliver(run_id)
    assert stored_run(web, run_id).status == "success"


@pytest.mark.parametrize(
    ("sqlstate", "words"),
    [
        ("54000", "a limit of PostgreSQL"),
        ("57014", "in time"),
        ("55P03", "locked"),
        ("53200", "memory"),
    ],
)
def test_a_result_that_is_always_refused_ends_the_run_with_that_reason(
    web: Sessions,
    impatient: ScanRunner,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    sqlstate: str,
    words: str,
) -> None:
    run_id = queue(web)
    with refusing(database, sqlstate):
        impatient.deliver(run_id)
    run = stored_run(web, run_id)
    assert (run.status, run.result_data["verdict"], run.result_data["vulnerabilities"]) == ("failed", "failed", None)
    assert run.result_data["reason"]["code"] == "result_not_stored"
    assert words in run.result_data["reason"]["sentence"]
    assert "vuls-target-1" in run.result_data["reason"]["sentence"]
    assert (run.lease_owner, run.lease_expires_at) == (None, None)
    assert "Words of PostgreSQL" in caplog.text
    assert told(web)[-1] == (run_id, "failed")


def test_a_run_whose_end_is_refused_is_let_go_and_ended_by_whoever_joins_it(
    web: Sessions, impatient: ScanRunner, runner: ScanRunner, database: Database, executor: ExecutorDouble
) -> None:
    run_id = queue(web)
    is_end = "WHEN (NEW.data ->> 'status' IN ('success', 'failed'))"
    with refusing(database, "54000", table="event", when=is_end), pytest.raises(Exception, match="Words of PostgreSQL"):
        impatient.deliver(run_id)
    run = stored_run(web, run_id)
    assert (run.status, run.lease_owner) == ("started", nobody_of(gethostname()))
    runner.deliver(run_id)
    run = stored_run(web, run_id)
    assert (run.status, run.attempt, run.takeovers) == ("success", 1, 1)
    assert len(executor.jobs) == 1
    assert told(web) == [(run_id, "queued"), (run_id, "started"), (run_id, "success")]


def test_patience_ends_and_the_job_with_it(
    web: Sessions, worker: Settings, database: Database, executor: ExecutorDouble, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = queue(web)
    brief = ScanRunner(worker.model_copy(update={"store_patience": 5}), sessions())
    with refusing(database, "53100"), pytest.raises(Exception, match="Words of PostgreSQL"):
        brief.deliver(run_id)
    assert "The database is away" in caplog.text
    assert stored_run(web, run_id).lease_owner == nobody_of(gethostname())
    assert len(executor.jobs) == 1
