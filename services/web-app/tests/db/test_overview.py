"""The overview is one moment's truth, and names the cursor it is true at."""

from collections.abc import Callable

import orjson
import pytest

from app.db.events import head, read_events
from app.db.models import Host, Run
from app.db.overview import overview
from app.db.runs import claim_run, create_host_run, finish_run, open_runs
from app.domain.cursor import Cursor
from app.domain.permissions import Access, Role
from app.domain.status import HostRunKind, RunStatus
from tests.conftest import Sessions
from tests.db.rows import queue_run
from tests.services import Database

Maker = Callable[..., Sessions]
ADMIN = Access(1, "root", Role.ADMIN, None)


def test_what_commits_while_it_is_read_is_in_neither_or_in_both_cursor_and_rows(sessions_as: Maker) -> None:
    web = sessions_as("web")
    first, _ = queue_run(web, "vuls-target-1")
    with web() as session:
        page = overview(session, ADMIN)
        queue_run(web, "vuls-target-2")
        assert [run.id for run in open_runs(session, ADMIN)] == [first.id]
    assert [run["id"] for run in page["running"]] == [first.id]
    cursor = Cursor.parse(page["cursor"])
    with web() as session:
        assert len(read_events(session, cursor.sequence, 10)[1]) == 1
        assert head(session).epoch == cursor.epoch


@pytest.mark.parametrize("sees_all", [True, False])
def test_it_shows_open_and_finished_runs_of_the_users_hosts(sessions_as: Maker, sees_all: bool) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")
    done, _ = queue_run(web, "vuls-target-1")
    waiting, _ = queue_run(web, "vuls-target-2")
    with worker.begin() as session:
        claim = claim_run(session, done.id, "a", 30)
        assert claim is not None
        finish_run(session, claim.run, "success", {"verdict": "assessed", "vulnerabilities": 9})
    access = ADMIN if sees_all else Access(2, "vera", Role.VIEWER, frozenset({done.host_id}))
    with web() as session:
        page = overview(session, access)
    assert [run["result_data"]["vulnerabilities"] for run in page["recent"]] == [9]
    assert [run["id"] for run in page["running"]] == ([waiting.id] if sees_all else [])
    assert [host["name"] for host in page["hosts"]] == ["vuls-target-1", "vuls-target-2"][: 2 if sees_all else 1]
    assert len(page["tasks"]) == (2 if sees_all else 1)
    assert [(task["last_run"] or {}).get("id") for task in page["tasks"]] == [done.id, None][: 2 if sees_all else 1]
    assert page["user"] == {"id": access.user_id, "name": access.name, "role": str(access.role)}
    assert orjson.loads(orjson.dumps(page)) == page


@pytest.mark.parametrize("scanned", ["success", "failed"])
def test_packages_assessed_anew_are_the_last_result_where_the_scan_had_brought_them(
    sessions_as: Maker, scanned: RunStatus
) -> None:
    web, worker = sessions_as("web"), sessions_as("worker")

    def end(run: Run, status: RunStatus) -> int:
        with worker.begin() as session:
            claim = claim_run(session, run.id, "a", 30)
            assert claim is not None
            assert finish_run(session, claim.run, status, {}) is not None
        return run.id

    def ask(host_id: int, kind: HostRunKind) -> Run:
        with web.begin() as session:
            return create_host_run(session, session.get_one(Host, host_id), kind, "anna")[0]

    def shown() -> list[int]:
        with web() as session:
            return [task["last_run"]["id"] for task in overview(session, ADMIN)["tasks"]]

    first, second = (queue_run(web, name)[0] for name in ("vuls-target-1", "vuls-target-2"))
    scans = [end(first, scanned), end(second, "success")]
    assert shown() == scans
    end(ask(first.host_id, "check"), "success")
    end(ask(first.host_id, "reassess"), "failed")
    assert shown() == scans
    again = end(ask(first.host_id, "reassess"), "success")
    assert shown() == [again if scanned == "success" else scans[0], scans[1]]


def test_a_large_fleet_is_shown_whole(sessions_as: Maker, database: Database) -> None:
    database.execute(
        "INSERT INTO host (name, address) SELECT 'host-' || n, 'host-' || n FROM generate_series(1, 1100) n"
    )
    database.execute("INSERT INTO scheduled_task (name, host_id) SELECT 'Scan ' || name, id FROM host")
    with sessions_as("web")() as session:
        page = overview(session, ADMIN)
    assert (len(page["hosts"]), len(page["tasks"])) == (1100, 1100)
