"""A worker tells of its scan host, and a scan of the database that it was matched against."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.config import Settings
from app.db.models import Scan
from app.db.scan_hosts import list_scan_hosts
from app.domain.permissions import Access, Role
from app.tasks.scan_host import ScanHostTeller
from app.tasks.scan_run import ScanRunner
from tests.conftest import Sessions
from tests.executor_double import ExecutorDouble, reported
from tests.services import Database
from tests.tasks.runs import queue, stored_run
from tests.waiting import wait_until

EVERYTHING = Access(1, "root", Role.ADMIN, None)
DIGEST = "sha256:" + "b2" * 32


def used_database(age: timedelta) -> dict[str, Any]:
    return {"digest": DIGEST, "modified_at": (datetime.now(UTC) - age).isoformat()}


def told(web: Sessions) -> list[tuple[str, str, str | None]]:
    with web() as session:
        return [(one.row.name, one.state, one.row.database_digest) for one in list_scan_hosts(session, EVERYTHING)]


@pytest.fixture
def teller(worker: Settings) -> Iterator[ScanHostTeller]:
    teller = ScanHostTeller(worker, every=0.05)
    teller.start()
    yield teller
    teller.stop()
    teller._thread.join(30)  # or its last word comes in the next test


def test_a_worker_tells_how_its_executor_and_the_database_are(
    web: Sessions, executor: ExecutorDouble, teller: ScanHostTeller
) -> None:
    assert teller
    here = socket.gethostname()
    wait_until(lambda: told(web) == [(here, "ok", None)])
    executor.health = {"status": "ok", "database_info": used_database(timedelta(hours=3)) | {"size": 1, "source": "x"}}
    wait_until(lambda: told(web) == [(here, "ok", DIGEST)])
    executor.health = {"status": "ok", "database_info": used_database(timedelta(days=15))}
    wait_until(lambda: told(web) == [(here, "degraded", DIGEST)])
    executor.health = {"status": "degraded", "database": "missing", "database_info": None}
    wait_until(lambda: told(web) == [(here, "degraded", None)])
    executor.stop()
    wait_until(lambda: told(web) == [(here, "unreachable", None)])


def test_a_database_of_any_age_is_good_where_the_deployment_says_so(
    web: Sessions, worker: Settings, executor: ExecutorDouble
) -> None:
    worker.vulnerability_database_max_age = 0
    executor.health = {"status": "ok", "database_info": used_database(timedelta(days=900))}
    ScanHostTeller(worker).tell()
    assert told(web) == [(socket.gethostname(), "ok", DIGEST)]


def test_an_answer_that_nobody_knows_is_no_good_health(
    web: Sessions, executor: ExecutorDouble, teller: ScanHostTeller
) -> None:
    assert teller
    wait_until(lambda: len(told(web)) == 1)
    executor.health = {"status": "splendid"}
    wait_until(lambda: told(web)[0][1] == "unreachable")


def test_it_goes_on_telling_after_the_database_refused(
    web: Sessions,
    executor: ExecutorDouble,
    teller: ScanHostTeller,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert teller
    wait_until(lambda: len(told(web)) == 1)
    database.execute("REVOKE INSERT ON scan_host FROM vuls_worker_access")
    try:
        executor.health = {"status": "ill"}
        wait_until(lambda: "could not be written down" in caplog.text)
    finally:
        database.execute("GRANT INSERT ON scan_host TO vuls_worker_access")
    wait_until(lambda: [state for _, state, _ in told(web)] == ["ill"])


@pytest.mark.parametrize(
    ("age", "verdict"), [(timedelta(hours=3), "assessed"), (timedelta(days=15), "not_assessed")], ids=["fresh", "old"]
)
def test_a_scan_says_which_database_it_was_matched_against_and_an_old_one_assesses_nothing(
    web: Sessions, runner: ScanRunner, executor: ExecutorDouble, age: timedelta, verdict: str
) -> None:
    used = used_database(age)
    executor.end = lambda _: reported() | {"database": used}
    run_id = queue(web)
    runner.deliver(run_id)
    result = stored_run(web, run_id).result_data
    assert result["verdict"] == verdict
    assert result.get("reason", {}).get("code") == (None if verdict == "assessed" else "database_outdated")
    with web() as session:
        scan = session.scalars(select(Scan)).one()
    assert (scan.database_digest, scan.database_modified_at) == (DIGEST, datetime.fromisoformat(used["modified_at"]))


def test_any_age_will_do_where_the_deployment_says_so(
    web: Sessions, worker: Settings, executor: ExecutorDouble, runner: ScanRunner
) -> None:
    worker.vulnerability_database_max_age = 0
    executor.end = lambda _: reported() | {"database": used_database(timedelta(days=900))}
    run_id = queue(web)
    runner.deliver(run_id)
    assert stored_run(web, run_id).result_data["verdict"] == "assessed"


@pytest.mark.parametrize(
    ("said", "limit", "verdict"),
    [({"database": None}, 14, "not_assessed"), ({"database": None}, 0, "assessed"), ({}, 14, "assessed")],
    ids=["age unknown", "any age will do", "an executor of the release before"],
)
def test_a_database_of_unknown_age_assesses_nothing_where_age_matters(
    web: Sessions,
    worker: Settings,
    executor: ExecutorDouble,
    runner: ScanRunner,
    said: dict[str, Any],
    limit: int,
    verdict: str,
) -> None:
    worker.vulnerability_database_max_age = limit
    executor.end = lambda _: reported() | said
    run_id = queue(web)
    runner.deliver(run_id)
    result = stored_run(web, run_id).result_data
    assert result["verdict"] == verdict
    assert result.get("reason", {}).get("code") == ("database_age_unknown" if verdict == "not_assessed" else None)
