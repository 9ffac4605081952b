"""The database is promoted: by hand-over, and after the loss of the primary. Two hosts never take writes at once."""

import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from tests.e2e import stack
from tests.runbooks import run_page

OVERLAY = ("-i", "molecule/ha/inventory")
HOSTS = ("vuls-db", "vuls-db-2")
# What a reader of the page has in the place of the inventory that it names.
MINE = {"inventories/mine": "inventories/local -i molecule/ha/inventory"}
# The page with its two hosts exchanged.
OTHER_WAY = {"vuls-db-2": "THE-OTHER", "vuls-db": "vuls-db-2", "THE-OTHER": "vuls-db"}


def sql(host: str, statement: str) -> str:
    return stack.must(stack.on(host, "psql", "-XAtq", "-d", "vuls", "-c", statement, user="postgres")).strip()


def takes_writes(host: str) -> bool:
    done = stack.on(host, "psql", "-XAtq", "-d", "vuls", "-c", "CREATE TEMP TABLE probe ()", user="postgres")
    return done.returncode == 0


def promote(host: str, *arguments: str) -> str:
    done = stack.ansible_playbook(
        *OVERLAY, "playbooks/promote_database.yml", "-e", f"promote_host={host}", *arguments, timeout=1500
    )
    return stack.must(done)


def first_answer(session: httpx.Client, since: float) -> float:
    """Return the seconds since a moment until a change is accepted again."""
    stack.wait_until(
        lambda: session.post("/api/scheduled-tasks/1/run").status_code in {202, 409},
        timeout=120,
        what="a change is accepted",
    )
    return time.monotonic() - since


@pytest.fixture(scope="module", autouse=True)
def administrator() -> Iterator[httpx.Client]:
    """Signed in while there is a primary: sessions are rows, and go with it."""
    with closing(stack.sign_in("admin", stack.admin_password())) as session:
        yield session


def test_the_replica_follows_over_tls_with_a_slot_of_its_own() -> None:
    assert sql("vuls-db-2", "SELECT pg_is_in_recovery()") == "t"
    found = sql(
        "vuls-db",
        "SELECT r.application_name, s.ssl, t.slot_name FROM pg_stat_replication r JOIN pg_stat_ssl s USING (pid)"
        " JOIN pg_replication_slots t ON t.active_pid = r.pid",
    )
    assert found == "vuls-db-2|t|vuls_db_2"
    assert not takes_writes("vuls-db-2")


def test_a_primary_hands_over_and_becomes_the_replica(administrator: httpx.Client) -> None:
    cursor = administrator.get("/api/notifications").raise_for_status().json()["next"]
    rows = sql("vuls-db", "SELECT count(*) FROM event")
    began = time.monotonic()
    said = "".join(
        run_page(
            "docs/operations/database-failover.md", "Before you start", "Steps: hand over", replace=MINE, timeout=1500
        )
    )
    stack.note("database-failover", "whole hand-over with the new replica, seconds", time.monotonic() - began)
    assert "vuls-db-2 is the primary" in said
    assert [takes_writes(host) for host in HOSTS] == [False, True]
    assert int(sql("vuls-db-2", "SELECT count(*) FROM event")) >= int(rows)
    assert first_answer(administrator, time.monotonic()) < 30
    assert administrator.get(f"/api/notifications?since={cursor}").status_code == 410
    assert sql("vuls-db-2", "SELECT application_name FROM pg_stat_replication") == "vuls-db"


def test_a_primary_that_is_gone_is_not_passed_over_without_a_word() -> None:
    stack.must(stack.run("docker", "stop", "vuls-db-2"))
    done = stack.ansible_playbook(*OVERLAY, "playbooks/promote_database.yml", "-e", "promote_host=vuls-db")
    assert done.returncode != 0
    assert "may be a primary that takes writes" in done.stdout
    assert not takes_writes("vuls-db")


def test_an_old_primary_that_comes_back_takes_no_writes_and_becomes_the_replica(administrator: httpx.Client) -> None:
    began = time.monotonic()
    run_page(
        "docs/operations/database-failover.md", "Steps: the primary is gone", replace=OTHER_WAY | MINE, timeout=1500
    )
    stack.note(
        "database-failover", "promotion after a loss, with new settings everywhere, seconds", time.monotonic() - began
    )
    assert takes_writes("vuls-db")
    first_answer(administrator, time.monotonic())

    stack.must(stack.run("docker", "start", "vuls-db-2"))
    stack.wait_until(
        lambda: stack.on("vuls-db-2", "test", "-e", "/var/lib/postgresql/fenced").returncode == 0,
        timeout=90,
        what="the fence",
    )
    assert not takes_writes("vuls-db-2")
    stack.on("vuls-db-2", "systemctl", "start", "postgresql@17-main")
    assert not takes_writes("vuls-db-2")

    promote("vuls-db")
    assert [takes_writes(host) for host in HOSTS] == [True, False]
    assert sql("vuls-db", "SELECT application_name FROM pg_stat_replication") == "vuls-db-2"


def test_a_running_old_primary_closes_itself_off_as_soon_as_it_sees_the_new_one() -> None:
    """The network parted the two; both take writes until it is whole again."""
    networks = stack.must(
        stack.run(
            "docker", "inspect", "--format", "{{range $n, $_ := .NetworkSettings.Networks}}{{$n}}{{end}}", "vuls-db"
        )
    )
    stack.must(stack.run("docker", "network", "disconnect", networks.strip(), "vuls-db"))
    sql("vuls-db-2", "SELECT pg_promote()")
    assert takes_writes("vuls-db")
    stack.must(stack.run("docker", "network", "connect", networks.strip(), "vuls-db"))
    began = time.monotonic()
    stack.wait_until(lambda: not takes_writes("vuls-db"), timeout=60, what="the old primary takes no writes")
    stack.note(
        "database-failover", "old primary closed off after the network is whole, seconds", time.monotonic() - began
    )
    promote("vuls-db-2")
    assert [takes_writes(host) for host in HOSTS] == [False, True]


def test_an_old_primary_that_is_down_is_fenced_before_another_one_is_promoted() -> None:
    """Its host can be reached, so somebody may start it at any moment."""
    stack.must(stack.on("vuls-db-2", "systemctl", "stop", "postgresql@17-main"))
    said = promote("vuls-db", "-e", "promote_unreachable=vuls-db-2")
    assert 0 < said.index("fence | Put up the fence") < said.index("promote | Promote")
    assert [takes_writes(host) for host in HOSTS] == [True, False]
    assert sql("vuls-db", "SELECT application_name FROM pg_stat_replication") == "vuls-db-2"
    promote("vuls-db-2")


def test_the_way_back_is_a_hand_over_too() -> None:
    promote("vuls-db")
    assert [takes_writes(host) for host in HOSTS] == [True, False]
