"""Old scans go with their findings, but for those that are still looked at."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.db.findings import assessed_scan
from app.db.scan_retention import delete_old_scans
from app.db.scans import collected_packages, get_scan, scan_json
from app.domain.permissions import Access, Role
from tests.conftest import Sessions
from tests.db.rows import queue_run
from tests.services import Database

Maker = Callable[..., Sessions]
ADD = """
INSERT INTO scan (id, run_id, host_id, attempt, created_at, family, release, verdict, counts, demo, package_count,
                  packages_from_scan_id, collected_at, result)
VALUES (%s, %s, %s, 1, now() - %s * interval '1 day', 'debian', '12', %s, '{}', false, 1, %s, %s, '{}')
"""
FOUND = (
    "INSERT INTO finding (scan_id, host_id, cve_id, severity, title, packages)"
    " SELECT id, host_id, 'CVE-1', 'high', '', '[]' FROM scan WHERE verdict = 'assessed'"
)


@pytest.fixture
def add(sessions_as: Maker, database: Database) -> Callable[..., None]:
    """Add a scan of a host: `add(id, days, "assessed")`; `of` is the scan whose packages it assessed again."""
    hosts: dict[str, tuple[int, int]] = {}

    def add(scan_id: int, days: float, verdict: str = "assessed", of: int | None = None, host: str = "a") -> None:
        if host not in hosts:
            run, _ = queue_run(sessions_as("web"), host)
            hosts[host] = run.id, run.host_id
        collected: Any = None if of is None else "2026-01-01Z"
        database.execute(ADD, scan_id, *hosts[host], days, verdict, of, collected)

    return add


def delete(sessions_as: Maker, days: int = 90, limit: int = 50) -> int:
    with sessions_as("scheduler").begin() as session:
        return delete_old_scans(session, days, limit)


def ids(database: Database, table: str = "scan", column: str = "id") -> list[int]:
    return [number for (number,) in database.execute(f"SELECT {column} FROM {table} ORDER BY 1")]


def test_scans_that_newer_ones_replaced_go_with_their_findings(
    sessions_as: Maker, add: Callable[..., None], database: Database
) -> None:
    for scan_id, days in ((1, 400), (2, 100), (3, 91), (4, 89), (5, 1)):
        add(scan_id, days)
    database.execute(FOUND)
    assert delete(sessions_as) == 3
    assert ids(database) == ids(database, "finding", "scan_id") == [4, 5]
    assert delete(sessions_as) == 0


def test_a_host_that_is_scanned_no_more_keeps_what_is_shown_compared_and_assessed_again(
    sessions_as: Maker, add: Callable[..., None], database: Database
) -> None:
    add(1, 500)  # replaced
    add(2, 400)  # what 4 is compared with
    add(3, 390, "not_assessed")  # replaced
    add(4, 380)  # the last assessed scan
    add(5, 370, "not_assessed")  # the last that collected packages
    add(6, 360, "not_assessed", of=5)  # replaced
    add(7, 350, "not_assessed", of=5)  # the last
    add(11, 500, host="b")
    assert delete(sessions_as) == 3
    assert ids(database) == [2, 4, 5, 7, 11]
    with sessions_as("web")() as session:
        host_id = database.execute("SELECT host_id FROM scan WHERE id = 4")[0][0]
        last, packages = assessed_scan(session, host_id), collected_packages(session, host_id)
        assert last is not None
        assert packages is not None
        assert (last.id, packages.scan_id) == (4, 5)
        shown = get_scan(session, Access(1, "anna", Role.ADMIN, None), 4)
        assert shown is not None
        assert scan_json(session, shown)["changes"]["since_scan_id"] == 2


def test_a_backlog_goes_bit_by_bit_the_oldest_first(
    sessions_as: Maker, add: Callable[..., None], database: Database
) -> None:
    for scan_id in range(1, 8):
        add(scan_id, 200 - scan_id)
    assert delete(sessions_as, limit=2) == 2
    assert ids(database) == [3, 4, 5, 6, 7]
    assert [delete(sessions_as, limit=2), delete(sessions_as, limit=2)] == [2, 1]


@pytest.mark.parametrize("statement", ["SELECT result FROM scan", "UPDATE scan SET verdict = 'assessed'"])
def test_the_scheduler_may_do_no_more_than_that(sessions_as: Maker, statement: str) -> None:
    with sessions_as("scheduler")() as session, pytest.raises(ProgrammingError, match="permission denied"):
        session.execute(text(statement))
