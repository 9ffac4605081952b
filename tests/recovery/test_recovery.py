"""A database that is lost with its host comes back from the backups: all of it, or as it was at a moment."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from tests.e2e import stack
from tests.runbooks import run_page

OVERLAY = ("-i", "molecule/recovery/inventory")
# What a reader of the page has in the place of the inventory that it names.
MINE = {"inventories/mine": "inventories/local -i molecule/recovery/inventory"}
# The same, and what its database is called after.
PLACES = {**MINE, "VERSION": "17"}
REPOSITORY = "/var/lib/pgbackrest"
# What a running system writes by itself: its epoch, how scan hosts are, who was seen last.
VOLATILE = {"event_epoch", "scan_host", "user_session"}
WRITERS = {
    "vuls-web-1": "vuls-scheduler vuls-web.target",
    "vuls-web-2": "vuls-scheduler vuls-web.target",
    "vuls-worker": "vuls-worker@default",
}


def systemctl(verb: str) -> None:
    for host, units in WRITERS.items():
        stack.shell(host, f"systemctl {verb} {units}", timeout=120)


def tables() -> dict[str, tuple[int, str]]:
    """Return the number of rows of each table, and a checksum of them."""
    names = stack.sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition ORDER BY 1"
    ).split()
    found = {}
    for name in names:
        rows = stack.sql(f'SELECT t::text FROM "{name}" t ORDER BY 1')
        found[name] = (len(rows.splitlines()), hashlib.sha256(rows.encode()).hexdigest())
    return found


def archive_all() -> None:
    """Return when all WAL that was written is in the repository."""
    wanted = stack.sql("SELECT pg_walfile_name(pg_switch_wal())")
    stack.wait_until(
        lambda: stack.sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") >= wanted,
        timeout=120,
        what=f"{wanted} in the archive",
    )


def moment() -> str:
    """Return the database's time, as restore_to has it."""
    return stack.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'")


def restore_to(then: str) -> None:
    """Bring the database back as it was at a moment."""
    arguments = ("-e", "restore_confirmed=true", "-e", json.dumps({"restore_to": then}))
    stack.must(stack.ansible_playbook(*OVERLAY, "playbooks/restore.yml", *arguments, timeout=1800))


def users() -> set[str]:
    """Return which of those that the stories make and delete are there."""
    return set(stack.sql("SELECT name FROM app_user WHERE name IN ('grace', 'edsger')").split())


def timeline() -> str:
    """Return the number of the timeline that is written, in eight hexadecimal digits."""
    return stack.sql("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)")


@pytest.fixture(scope="module")
def moments() -> dict[str, str]:
    """Return the moments that later stories go back to, by who was there."""
    return {}


@pytest.fixture
def administrator() -> Iterator[httpx.Client]:
    with closing(stack.sign_in("admin", stack.admin_password())) as session:
        yield session


def test_a_damaged_archive_is_refused_before_anything_is_stopped() -> None:
    began = time.monotonic()
    run_page("docs/operations/restore.md", "Steps: back up", replace=MINE)
    stack.note("recovery", "full backup, seconds", time.monotonic() - began)
    started = stack.sql("SELECT pg_postmaster_start_time()")
    victim = stack.shell("vuls-backup", f"find {REPOSITORY}/archive -type f -name '0*' | sort | head -1").strip()
    stack.shell(
        "vuls-backup", f"cp -p {victim} /root/sound && dd if=/dev/urandom of={victim} bs=64 seek=4 count=2 conv=notrunc"
    )
    try:
        done = stack.ansible_playbook(*OVERLAY, "playbooks/restore.yml", "-e", "restore_confirmed=true")
    finally:
        stack.shell("vuls-backup", f"cp -p /root/sound {victim}")
    assert done.returncode != 0
    assert "are damaged or cannot be read, so nothing was stopped" in done.stdout
    assert stack.sql("SELECT pg_postmaster_start_time()") == started
    for host, units in WRITERS.items():
        stack.shell(host, f"systemctl is-active {units}")


def test_without_a_confirmation_nothing_is_done_but_said() -> None:
    started = stack.sql("SELECT pg_postmaster_start_time()")
    said = stack.must(stack.ansible_playbook(*OVERLAY, "playbooks/restore.yml"))
    assert "restore_confirmed=true" in said
    moment = r"F of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00"
    assert re.search(moment, " ".join(said.split())), "by which restore_to is chosen"
    assert stack.sql("SELECT pg_postmaster_start_time()") == started


def test_what_was_lost_with_its_host_comes_back_onto_a_bare_one(administrator: httpx.Client) -> None:
    made = administrator.post(
        "/api/users", json={"name": "grace", "password": "a long enough one for grace", "role": "viewer", "groups": []}
    )
    assert made.status_code == 201, made.text
    run = stack.start_run(administrator, 1)
    assert stack.finished(administrator, run["id"])["status"] == "success"
    old_cursor = administrator.get("/api/notifications").raise_for_status().json()["next"]
    systemctl("stop")
    archive_all()
    before = tables()
    assert before["finding"][0] > 0
    assert before["event"][0] > 0

    stack.must(stack.run("docker", "rm", "--force", "--volumes", "vuls-db"))
    stack.must(stack.run("scripts/stack.sh", "create", "--label", "molecule", "--hosts", "vuls-db:trixie", timeout=180))
    began = time.monotonic()
    run_page("docs/operations/restore.md", "Steps: restore", replace=MINE, timeout=1800)
    stack.note("recovery", "restore onto a bare host, seconds", time.monotonic() - began)
    after = tables()
    assert {name: rows for name, rows in after.items() if name not in VOLATILE} == {
        name: rows for name, rows in before.items() if name not in VOLATILE
    }
    with closing(stack.sign_in("admin", stack.admin_password())) as session:
        assert session.get(f"/api/notifications?since={old_cursor}").status_code == 410
        run_page("docs/operations/restore.md", "How you know that it worked")
        again = stack.start_run(session, 1)
        assert stack.finished(session, again["id"])["status"] == "success"


def test_the_database_goes_back_to_a_moment(moments: dict[str, str]) -> None:
    with closing(stack.sign_in("admin", stack.admin_password())) as session:
        (grace,) = [user for user in session.get("/api/users").json()["items"] if user["name"] == "grace"]
        moments["with grace"] = moment()
        session.delete(f"/api/users/{grace['id']}").raise_for_status()
        made = session.post(
            "/api/users",
            json={"name": "edsger", "password": "a long enough one for him", "role": "viewer", "groups": []},
        )
        assert made.status_code == 201, made.text
        moments["with edsger"] = moment()
        session.delete(f"/api/users/{made.json()['id']}").raise_for_status()
    archive_all()
    assert users() == set()
    began = time.monotonic()
    restore_to(moments["with grace"])
    stack.note("recovery", "restore to a moment, seconds", time.monotonic() - began)
    assert users() == {"grace"}


def test_a_later_moment_is_of_the_history_that_was_left_for_the_first(moments: dict[str, str]) -> None:
    """The newest timeline leads to it, too, as PostgreSQL sees it, and ends at the first moment again."""
    archive_all()
    to = json.dumps({"restore_to": moments["with edsger"]})
    said = stack.must(stack.ansible_playbook(*OVERLAY, "playbooks/restore.yml", "-e", to))
    assert re.search(r"and follow timeline \d+, which was in use, not the newest", " ".join(said.split()))
    restore_to(moments["with edsger"])
    assert users() == {"edsger"}


def test_files_that_were_put_back_begin_a_timeline_that_can_be_restored() -> None:
    archive_all()
    restored = timeline()
    run_page("docs/operations/restore.md", "How to go back", replace=PLACES, timeout=1800)
    assert users() == {"grace"}, "as before the second restore"
    assert timeline() > restored, "or nothing could follow it"
    assert stack.sql("SELECT count(*) FROM pg_file_settings WHERE name = 'recovery_target_timeline'") == "0"
    stack.sql("CREATE TABLE written_after AS SELECT 1 AS it")
    archive_all()
    stack.must(stack.ansible_playbook(*OVERLAY, "playbooks/restore.yml", "-e", "restore_confirmed=true", timeout=1800))
    assert users() == {"grace"}
    assert stack.sql("SELECT it FROM written_after") == "1"
    stack.sql("DROP TABLE written_after")
    stack.shell("vuls-db", "rm -rf /var/lib/postgresql/17/main.restored")


def test_a_moment_that_the_archive_does_not_reach_leaves_all_as_it_was() -> None:
    before = stack.sql("SELECT count(*) FROM app_user")
    arguments = ("-e", "restore_confirmed=true", "-e", json.dumps({"restore_to": "2099-01-01 00:00:00+00"}))
    done = stack.ansible_playbook(*OVERLAY, "playbooks/restore.yml", *arguments, timeout=1800)
    assert done.returncode != 0
    assert "the files of before are back in their place" in done.stdout
    assert stack.sql("SELECT count(*) FROM app_user") == before
    for host, units in WRITERS.items():
        stack.shell(host, f"systemctl is-active {units}")


def test_a_dump_comes_back_without_the_backups(administrator: httpx.Client) -> None:
    cursor = administrator.get("/api/notifications").raise_for_status().json()["next"]
    systemctl("stop")
    before = tables()
    run_page("docs/operations/restore.md", "Without pgBackRest")
    after = tables()
    systemctl("start")
    assert {name: rows for name, rows in after.items() if name != "event_epoch"} == {
        name: rows for name, rows in before.items() if name != "event_epoch"
    }
    stack.wait_until(
        lambda: administrator.get(f"/api/notifications?since={cursor}").status_code == 410,
        timeout=60,
        what="the old cursor is refused",
    )


def test_units_of_the_backups_are_closed_in() -> None:
    for unit in ("vuls-backup@full.service", "vuls-backup-verify.service", "pgbackrest.service"):
        score = stack.shell("vuls-backup", f"systemd-analyze security --no-pager {unit} | tail -1")
        assert float(score.split(":")[1].split()[0]) <= 2.5, score


def test_the_repository_is_encrypted() -> None:
    found = stack.shell("vuls-backup", f"head -c 8 {REPOSITORY}/backup/vuls/backup.info")
    assert found.startswith("Salted__")
