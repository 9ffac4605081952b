"""What is known of the hosts that scan: told by their own zone's worker, shown to those whose hosts they scan."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.db.hosts import create_host
from app.db.scan_hosts import list_scan_hosts, note_scan_host, scan_host_json
from app.domain.permissions import Access, Role
from app.scheduler.work import clean_up
from tests.conftest import Sessions
from tests.services import Database

Maker = Callable[..., Sessions]
EVERYTHING = Access(1, "root", Role.ADMIN, None)
DIGEST = "sha256:" + "a1" * 32
CHANGED = datetime(2026, 11, 20, 4, 30, tzinfo=UTC)


def test_a_worker_tells_again_and_again_and_one_row_is_kept(sessions_as: Maker) -> None:
    worker, web = sessions_as("worker"), sessions_as("web")
    with worker.begin() as session:
        note_scan_host(session, "default", "scan-1", "ill", None, None)
    with worker.begin() as session:
        note_scan_host(session, "default", "scan-1", "ok", DIGEST, CHANGED)
    with web() as session:
        (seen,) = list_scan_hosts(session, EVERYTHING)
    shown = scan_host_json(seen)
    assert (shown["name"], shown["zone"], shown["state"]) == ("scan-1", "default", "ok")
    assert shown["database"] == {"digest": DIGEST, "modified_at": "2026-11-20T04:30:00Z"}


def test_one_that_is_not_heard_of_is_silent_and_forgotten_in_the_end(sessions_as: Maker, database: Database) -> None:
    with sessions_as("worker").begin() as session:
        note_scan_host(session, "default", "scan-1", "ok", None, None)
        note_scan_host(session, "default", "scan-2", "ok", None, None)
    database.execute("UPDATE scan_host SET seen_at = now() - interval '4 minutes' WHERE name = 'scan-1'")
    web, scheduler = sessions_as("web"), sessions_as("scheduler")
    with web() as session:
        assert [one.state for one in list_scan_hosts(session, EVERYTHING)] == ["silent", "ok"]
    database.execute("UPDATE scan_host SET seen_at = now() - interval '31 days' WHERE name = 'scan-1'")
    with scheduler.begin() as session:
        assert clean_up(session, 300, 14) == 1
    with web() as session:
        assert [one.row.name for one in list_scan_hosts(session, EVERYTHING)] == ["scan-2"]


def test_one_sees_the_scan_hosts_of_the_zones_of_ones_hosts(sessions_as: Maker) -> None:
    web = sessions_as("web")
    for zone in ("default", "other"):
        with sessions_as("worker", zone=zone).begin() as session:
            note_scan_host(session, zone, "scan-1", "ok", None, None)
    with web.begin() as session:
        host = create_host(session, name="web-1", address="192.0.2.1", port=22, zone="other")
        access = Access(2, "vera", Role.VIEWER, frozenset({host.id}))
        nobody = Access(3, "nora", Role.VIEWER, frozenset())
    with web() as session:
        assert [one.row.zone for one in list_scan_hosts(session, EVERYTHING)] == ["default", "other"]
        assert [one.row.zone for one in list_scan_hosts(session, access)] == ["other"]
        assert list_scan_hosts(session, nobody) == []


def test_a_zone_with_too_many_scan_hosts_hides_none_of_another(sessions_as: Maker, database: Database) -> None:
    database.execute(
        "INSERT INTO scan_host (zone, name, executor) SELECT 'a', 'scan-' || n, 'ok' FROM generate_series(1, 1001) n"
    )
    database.execute("INSERT INTO scan_host (zone, name, executor) VALUES ('b', 'scan-1', 'ok')")
    with sessions_as("web")() as session:
        zones = [one.row.zone for one in list_scan_hosts(session, EVERYTHING)]
    assert (zones.count("a"), zones.count("b")) == (1000, 1)


def test_a_worker_cannot_have_been_seen_at_a_time_that_drivers_do_not_know(sessions_as: Maker) -> None:
    with sessions_as("worker").begin() as session:
        note_scan_host(session, "default", "scan-1", "ok", None, None)
        for when in ("infinity", "20000-01-01"):
            with pytest.raises(IntegrityError), session.begin_nested():
                session.execute(text("UPDATE scan_host SET seen_at = CAST(:at AS timestamptz)"), {"at": when})


@pytest.mark.parametrize(
    ("zone", "digest", "modified_at"),
    [
        ("other", DIGEST, CHANGED),
        ("default", "sha256:<script>", CHANGED),
        ("default", DIGEST, datetime.max.replace(tzinfo=UTC) - timedelta(days=1)),
    ],
    ids=["another zone's", "no digest", "no time that drivers know"],
)
def test_a_worker_can_tell_neither_of_another_zone_nor_rubbish(
    sessions_as: Maker, zone: str, digest: str, modified_at: datetime
) -> None:
    worker = sessions_as("worker")
    with worker() as session, pytest.raises(DBAPIError):
        note_scan_host(session, zone, "scan-1", "ok", digest, modified_at)
