"""Each database role reaches what its component needs, and a zone's worker its zone only."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from app.config import Component
from app.db.events import read_events, record_event
from app.db.models import Event, Host, Run, RunLog
from app.db.runs import cancel_run, claim_run
from app.db.scans import collected_packages
from tests.conftest import Sessions, SettingsMaker
from tests.db.rows import add_host, queue_run
from tests.services import Database

Maker = Callable[..., Sessions]


@pytest.fixture
def two_zones(sessions_as: Maker) -> tuple[Run, Run]:
    """A queued run in the zone `default` and one in the zone `other`."""
    web = sessions_as("web")
    return queue_run(web, "vuls-target-1", "default")[0], queue_run(web, "vuls-target-2", "other")[0]


@pytest.mark.parametrize("zone", ["default", "other"])
def test_a_worker_sees_its_zones_rows_only(sessions_as: Maker, two_zones: tuple[Run, Run], zone: str) -> None:
    mine = two_zones[0] if zone == "default" else two_zones[1]
    with sessions_as("worker", zone=zone)() as session:
        assert list(session.scalars(select(Host.id))) == [mine.host_id]
        assert list(session.scalars(select(Run.id))) == [mine.id]
        assert [event.data["task_run_id"] for event in read_events(session, 0, 10)[1]] == [mine.id]


def test_a_worker_has_packages_of_its_zones_hosts_only(
    sessions_as: Maker, database: Database, two_zones: tuple[Run, Run]
) -> None:
    for run in two_zones:
        database.execute(
            "INSERT INTO scan (id, run_id, host_id, attempt, family, release, verdict, package_count, result)"
            " VALUES (%s, %s, %s, 1, 'debian', '12', 'assessed', 1, '{\"packages\": {}}')",
            run.id,
            run.id,
            run.host_id,
        )
    mine, foreign = two_zones
    with sessions_as("worker")() as session:
        packages = collected_packages(session, mine.host_id)
        assert packages is not None
        assert (packages.scan_id, packages.document) == (mine.id, {"packages": {}})
        assert collected_packages(session, foreign.host_id) is None


def test_a_worker_cannot_claim_or_end_another_zones_run(sessions_as: Maker, two_zones: tuple[Run, Run]) -> None:
    with sessions_as("worker").begin() as session:
        assert claim_run(session, two_zones[1].id, "a", 30) is None
        assert cancel_run(session, two_zones[1].id) is None


def move_run(session: Session, _: Run) -> None:
    session.execute(text("UPDATE run SET zone = 'other'"))


def tell_of_it(session: Session, foreign: Run) -> None:
    tell(session, foreign.host_id, {})


def bring_a_scan(session: Session, foreign: Run) -> None:
    add_scan(session, foreign.id, foreign.host_id)


def bring_a_scan_of_its_run(session: Session, foreign: Run) -> None:
    add_scan(session, foreign.id, own_host(session))


def bring_a_finding(session: Session, foreign: Run) -> None:
    session.execute(
        text(
            "INSERT INTO finding (scan_id, cve_id, host_id, severity, title, packages)"
            " SELECT :scan, 'CVE-1', :host, 'low', 'x', '[]'"
        ),
        {"scan": foreign.id, "host": own_host(session)},  # the other zone's scan has its run's id, see below
    )


def run_its_task(session: Session, foreign: Run) -> None:
    session.execute(
        text(
            "INSERT INTO run (task_id, task_name, host_id, zone, scan_type, trigger)"
            " VALUES (:task, 'x', :host, 'default', 'fast', 'adhoc')"
        ),
        {"task": foreign.task_id, "host": own_host(session)},
    )


def tell_of_it_under_an_own_host(session: Session, foreign: Run) -> None:
    tell(session, own_host(session), {"host_id": foreign.host_id})


def tell_administrators_of_it(session: Session, foreign: Run) -> None:
    tell(session, None, {"host_id": foreign.host_id})


def tell(session: Session, host_id: int | None, data: dict[str, Any]) -> None:
    """Store an event past our own code, as one would who has a worker's password."""
    session.add(Event(type="task_update", host_id=host_id, data=data))
    session.flush()


def log_for_it(session: Session, foreign: Run) -> None:
    session.add(RunLog(run_id=foreign.id, n=1, attempt=1, text="x"))
    session.flush()


def own_host(session: Session) -> int:
    return session.scalars(select(Host.id)).one()


def add_scan(session: Session, run_id: int, host_id: int) -> None:
    session.execute(
        text(
            "INSERT INTO scan (run_id, host_id, attempt, family, release, verdict, package_count, result)"
            " VALUES (:run, :host, 1, 'debian', '12', 'assessed', 0, '{}')"
        ),
        {"run": run_id, "host": host_id},
    )


@pytest.mark.parametrize(
    "attack",
    [
        move_run,
        tell_of_it,
        tell_of_it_under_an_own_host,
        tell_administrators_of_it,
        bring_a_scan,
        bring_a_scan_of_its_run,
        bring_a_finding,
        run_its_task,
        log_for_it,
    ],
)
def test_a_worker_cannot_write_another_zones_rows(
    sessions_as: Maker, database: Database, two_zones: tuple[Run, Run], attack: Callable[[Session, Run], None]
) -> None:
    foreign = two_zones[1]
    database.execute(
        "INSERT INTO scan (id, run_id, host_id, attempt, family, release, verdict, package_count, result)"
        " VALUES (%s, %s, %s, 1, 'debian', '12', 'assessed', 0, '{}')",
        foreign.id,
        foreign.id,
        foreign.host_id,
    )
    with sessions_as("worker")() as session, pytest.raises(ProgrammingError, match=r"policy|permission denied"):
        attack(session, foreign)


@pytest.mark.parametrize("component", ["web", "scheduler", "worker"])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE public.mine (id int)",
        "ALTER TABLE run ADD COLUMN mine int",
        "DROP TABLE event",
        "ALTER TABLE run DISABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON run USING (true)",
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "UPDATE event SET data = '{}'",
        "DELETE FROM event",
        "DELETE FROM run",
        "UPDATE event_epoch SET epoch = 'x'",
        "SELECT nextval('event_seq')",
        "SELECT new_epoch()",
        "SET ROLE vuls_owner",
    ],
)
def test_no_component_changes_the_schema_or_rewrites_history(
    make_settings: SettingsMaker, component: Component, statement: str
) -> None:
    with connect(make_settings, component) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    ("component", "statement"),
    [
        ("worker", "SELECT FROM app_user"),
        ("worker", "SELECT FROM user_session"),
        ("worker", "SELECT FROM api_token"),
        ("worker", "SELECT FROM scheduled_task"),
        ("worker", "INSERT INTO host (name, address) VALUES ('x', 'x')"),
        ("worker", "UPDATE run SET task_name = 'x'"),
        ("scheduler", "SELECT FROM app_user"),
        ("scheduler", "SELECT token_hash FROM user_session"),
        ("scheduler", "SELECT FROM api_token"),
        ("scheduler", "SELECT result FROM scan"),
        ("scheduler", "SELECT text FROM run_log"),
        ("web", "DELETE FROM run_log"),
        ("worker", "UPDATE run_log SET text = 'x'"),
        ("scheduler", "UPDATE scheduled_task SET cron = '* * * * *'"),
        ("scheduler", "UPDATE host SET address = 'x'"),
        ("web", "UPDATE run SET host_id = 1"),
        ("web", "UPDATE run SET kind = 'scan'"),
        ("worker", "UPDATE run SET kind = 'scan'"),
        ("worker", "UPDATE scan SET packages_from_scan_id = 1"),
        ("scheduler", "UPDATE scan SET verdict = 'assessed'"),
        ("web", "INSERT INTO scan DEFAULT VALUES"),
        ("web", "DELETE FROM finding"),
    ],
)
def test_a_component_is_refused_what_another_does(
    make_settings: SettingsMaker, component: Component, statement: str
) -> None:
    with connect(make_settings, component) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def connect(make_settings: SettingsMaker, component: Component) -> psycopg.Connection:
    return psycopg.connect(make_settings(component).database_url.replace("+psycopg", ""))


def test_a_worker_may_tell_administrators_something(sessions_as: Maker) -> None:
    with sessions_as("worker").begin() as session:
        event = record_event(session, "notice", None, {"sentence": "The scan host restarts."})
    with sessions_as("web")() as session:
        assert session.get_one(Event, event.id).seq is not None


def test_ids_of_the_system_start_above_those_of_the_deployment(sessions_as: Maker) -> None:
    with sessions_as("web").begin() as session:
        fixed, own = add_host(session, "fixed", host_id=1), add_host(session, "own")
    assert (fixed.id, own.id >= 1_000_000) == (1, True)
