"""What a host has and had: kept with each assessed scan, by one scan at a time, by its own zone's worker only."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session, joinedload

from app.config import Component
from app.db import migrate
from app.db.events import read_events
from app.db.findings import lock_findings
from app.db.models import Host, HostFinding, Run, ScheduledTask
from app.db.runs import claim_run, create_run
from app.db.scans import end_run
from app.domain.verdict import judge
from tests.conftest import Sessions
from tests.db.rows import add_task
from tests.recordings import Recording
from tests.services import Database
from tests.waiting import wait_until

SCORES = {"critical": 9.8, "high": 7.5, "medium": 5.0, "low": 2.0, "unknown": 0.0}
BLOCKED = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
STATE = "SELECT cve_id, severity, severity_before, change, changed_scan_id FROM host_finding ORDER BY host_id, cve_id"


def result(**severities: str) -> dict[str, Any]:
    """A result that found these CVEs (without their `CVE_`)."""
    cves = {
        f"CVE-{name}": {"cveContents": {"nvd": [{"cvss3Score": SCORES[severity], "title": f"About {name}"}]}}
        for name, severity in severities.items()
    }
    return Recording("report-ok").result("t1") | {"scannedCves": cves}


@pytest.fixture
def task_id(sessions_as: Callable[..., Sessions]) -> int:
    with sessions_as("web").begin() as session:
        return add_task(session).id


@pytest.fixture
def scan(sessions_as: Callable[..., Sessions], task_id: int) -> Callable[..., int]:
    """Store a result as a worker does; returns the scan's id: `scan(A="high")`, `scan(document)`."""
    web, worker = sessions_as("web"), sessions_as("worker")

    def store(document: dict[str, Any] | None = None, /, **severities: str) -> int:
        with web.begin() as session:
            run_id = create_run(session, session.get_one(ScheduledTask, task_id), "manual")[0].id
        return end(worker, run_id, document or result(**severities))

    return store


def end(worker: Sessions, run_id: int, document: dict[str, Any]) -> int:
    with worker.begin() as session:
        claim = claim_run(session, run_id, "worker", 30)
    assert claim is not None
    return end_claimed(worker, claim.run, document)


def end_claimed(worker: Sessions, run: Run, document: dict[str, Any]) -> int:
    with worker.begin() as session:
        ended = end_run(session, run, judge(0, 0, document, [], host="h"), document)[0]
    scan_id: int = ended.data["result_data"]["scan_id"]
    return scan_id


def told(sessions: Sessions) -> list[dict[str, list[str]]]:
    """The ids that events of changed findings name, by kind, without kinds that are empty."""
    with sessions() as session:
        log = read_events(session, 0, 1000)[1]
    return [
        {name: kind["cve_ids"] for name, kind in event.data.items() if isinstance(kind, dict) and kind["total"]}
        for event in log
        if event.type == "findings_changed"
    ]


def test_each_assessed_scan_moves_the_state_and_tells_what_changed(
    scan: Callable[..., int], sessions_as: Callable[..., Sessions], database: Database
) -> None:
    first = scan(A="high", B="low")
    assert told(sessions_as("web")) == []
    second = scan(A="critical", C="medium")
    third = scan(A="critical", B="low", C="medium")
    assert scan(A="critical", B="low", C="medium") > third > second > first
    assert told(sessions_as("web")) == [
        {"new": ["CVE-C"], "fixed": ["CVE-B"], "severity_changed": ["CVE-A"]},
        {"reappeared": ["CVE-B"]},
    ]
    assert database.execute(STATE) == [
        ("CVE-A", "critical", "high", "severity_changed", second),
        ("CVE-B", "low", None, "reappeared", third),
        ("CVE-C", "medium", None, "new", second),
    ]
    ((since_first,),) = database.execute("SELECT first_seen_at < changed_at FROM host_finding WHERE cve_id = 'CVE-B'")
    assert since_first


def test_a_scan_that_was_not_assessed_fixes_nothing(scan: Callable[..., int], database: Database) -> None:
    first = scan(A="high")
    for unassessed in (result() | {"reportedVersion": ""}, result() | {"family": "pseudo"}):
        scan(unassessed)
    assert database.execute(STATE) == [("CVE-A", "high", None, "baseline", first)]
    fixed = scan()
    assert database.execute(STATE) == [("CVE-A", "high", None, "fixed", fixed)]


def test_two_scans_of_a_host_that_end_together_are_compared_one_after_the_other(
    sessions_as: Callable[..., Sessions], scan: Callable[..., int], task_id: int, database: Database
) -> None:
    scan(A="high")
    web, worker = sessions_as("web"), sessions_as("worker")
    for _ in range(4):
        with web.begin() as session:
            create_run(session, session.get_one(ScheduledTask, task_id), "manual")
    # Nobody may start a second scan of a host; a worker of an earlier release would.
    database.execute("UPDATE run SET status = 'started', attempt = 1, lease_owner = 'a' WHERE status = 'queued'")
    with worker() as session:
        runs = session.scalars(select(Run).where(Run.status == "started").options(joinedload(Run.host))).all()
    with ThreadPoolExecutor(4) as pool:
        scans = list(pool.map(lambda run: end_claimed(worker, run, result(A="high", B="low")), runs))
    assert told(web) == [{"new": ["CVE-B"]}]
    assert database.execute(STATE)[1] == ("CVE-B", "low", None, "new", min(scans))


def test_a_scan_waits_for_the_one_of_its_host_that_is_being_stored_and_for_no_other(
    sessions_as: Callable[..., Sessions], scan: Callable[..., int], database: Database
) -> None:
    worker = sessions_as("worker")
    with worker() as session:
        host_id = session.scalars(select(Host.id)).one()
        lock_findings(session, host_id + 1)
        scan(A="high")
        lock_findings(session, host_id)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(scan, A="high")
            assert wait_until(lambda: database.execute(BLOCKED))
            assert not waiting.done()
            session.rollback()
            assert waiting.result(30)


SEVERITY = st.sampled_from(sorted(SCORES))
HISTORY = st.lists(st.none() | st.dictionaries(st.sampled_from("ABC"), SEVERITY), min_size=1, max_size=6)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=HISTORY)
def test_the_migration_fills_the_state_as_if_it_had_been_kept(
    history: list[dict[str, str] | None], scan: Callable[..., int], database: Database
) -> None:
    everything = "SELECT cve_id, severity, severity_before, change, changed_scan_id, first_seen_at FROM host_finding"
    database.execute("DELETE FROM host_finding; DELETE FROM run")
    for severities in history:  # None: not assessed
        scan(result() | {"reportedVersion": ""}) if severities is None else scan(**severities)
    kept = sorted(database.execute(everything))
    counts = database.execute("SELECT id, counts FROM scan ORDER BY id")
    database.execute("DELETE FROM host_finding; UPDATE scan SET counts = NULL")
    fill(database)
    assert sorted(database.execute(everything)) == kept
    assert database.execute("SELECT id, counts FROM scan ORDER BY id") == counts


def fill(database: Database) -> None:
    module = ScriptDirectory.from_config(migrate.alembic_config()).get_revision("0007a").module
    for (host_id,) in database.execute(module.HOSTS):
        with psycopg.connect(database.admin_url) as connection:
            for statement in module.FILL:
                connection.execute(statement, {"host": host_id})


def change_the_owner(session: Session) -> None:
    session.execute(text("UPDATE host_finding SET host_id = host_id + 1"))


def rewrite_since_when(session: Session) -> None:
    session.execute(text("UPDATE host_finding SET first_seen_at = now()"))


def name_another_scan(session: Session) -> None:
    session.execute(text("UPDATE host_finding SET changed_scan_id = changed_scan_id + 1"))


def forget(session: Session) -> None:
    session.execute(text("DELETE FROM host_finding"))


def bring_another_zones(session: Session) -> None:
    session.execute(
        text(
            "INSERT INTO host_finding (host_id, cve_id, severity, change, changed_scan_id, changed_at, first_seen_at)"
            " SELECT host_id + 1, 'CVE-X', severity, change, changed_scan_id, changed_at, first_seen_at"
            " FROM host_finding"
        )
    )


@pytest.mark.parametrize(
    "attack", [change_the_owner, rewrite_since_when, name_another_scan, forget, bring_another_zones]
)
def test_a_worker_cannot_rewrite_the_state(
    sessions_as: Callable[..., Sessions], scan: Callable[..., int], attack: Callable[[Session], None]
) -> None:
    scan(A="high")
    with sessions_as("worker")() as session, pytest.raises(ProgrammingError, match=r"policy|permission denied"):
        attack(session)


def test_another_zones_worker_sees_nothing_of_it(
    sessions_as: Callable[..., Sessions], scan: Callable[..., int]
) -> None:
    scan(A="high")
    with sessions_as("worker", zone="other")() as session:
        assert session.scalars(select(HostFinding)).all() == []


@pytest.mark.parametrize("component", ["web", "scheduler"])
def test_only_workers_write_it(sessions_as: Callable[..., Sessions], component: Component) -> None:
    with sessions_as(component)() as session, pytest.raises(ProgrammingError, match="permission denied"):
        session.execute(text("UPDATE host_finding SET severity = 'low'"))


def test_the_state_goes_with_its_host(scan: Callable[..., int], database: Database) -> None:
    scan(A="high")
    database.execute("DELETE FROM host")
    assert database.execute(STATE) == []
