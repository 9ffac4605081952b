"""The commands of docs/operations work as they are written, on the stack for which they are written.

Pages that a test of their subject executes are in that test: test_diagnostics, test_flows, tests/ha and others.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.runbooks import run_page

from . import stack
from .conftest import Users

USER, GROUP, PASSWORD = "ada", "team-a", stack.LOCAL / "ada-password"
DATABASE, SPARE = "/var/lib/vuls-executor/db/vuls.db", "/var/lib/vuls-executor/db/runbook.db"


@pytest.fixture
def nothing_left_of_ada(admin: httpx.Client) -> Iterator[None]:
    yield
    PASSWORD.unlink(missing_ok=True)
    for user in admin.get("/api/users").json()["items"]:
        if user["name"] == USER:
            admin.delete(f"/api/users/{user['id']}").raise_for_status()
    stack.sql(f"DELETE FROM host_group WHERE name = '{GROUP}'")


def test_the_certificate_that_browsers_see() -> None:
    run_page("docs/operations/certificates.md")


@pytest.mark.usefixtures("nothing_left_of_ada")
def test_users_groups_and_tokens() -> None:
    run_page("docs/operations/users.md")


@pytest.mark.usefixtures("nothing_left_of_ada")
def test_a_user_that_was_added_as_the_page_says_may_sign_in_until_disabled() -> None:
    run_page("docs/operations/users.md", "Steps: add a user")
    stack.sign_in(USER, PASSWORD.read_text().strip()).close()
    assert PASSWORD.stat().st_mode & 0o077 == 0
    stack.must(stack.on("vuls-web-1", "vulsctl", "user", "disable", USER))
    with stack.client() as visitor:
        attempt = {"username": USER, "password": PASSWORD.read_text().strip()}
        assert visitor.post("/api/auth/login", json=attempt).status_code == 401


@pytest.fixture
def forgetful(users: Users) -> str:
    """An administrator who was disabled, made a viewer, and whose password nobody knows."""
    users.make("e2e-forgetful", "viewer").close()
    stack.must(stack.on("vuls-web-1", "vulsctl", "user", "disable", "e2e-forgetful"))
    return "e2e-forgetful"


def test_the_administrators_password_is_lost(forgetful: str) -> None:
    file = stack.LOCAL / f"{forgetful}-password"
    verbs = ("--name", "enable", "passwd")
    own = {f"{verb} admin": f"{verb} {forgetful}" for verb in verbs} | {".local/admin-password": f".local/{file.name}"}
    try:
        run_page("docs/operations/lost-admin-password.md", replace=own)
        with closing(stack.sign_in(forgetful, file.read_text().strip())) as session:
            assert session.get("/api/users").is_success, "only an administrator may"
    finally:
        file.unlink(missing_ok=True)


def test_the_queue_is_stuck() -> None:
    run_page("docs/operations/stuck-queue.md")


def test_a_disk_is_full() -> None:
    run_page("docs/operations/disk-full.md")


def test_a_scan_fails() -> None:
    run_page("docs/operations/a-scan-fails.md")


def test_no_toasts() -> None:
    run_page("docs/operations/no-toasts.md")


def test_maintenance_of_an_instance() -> None:
    run_page("docs/operations/maintenance.md")


def test_monitoring(tmp_path: Path) -> None:
    """On a web host, but with the curl of this machine: test hosts have none."""
    process = stack.must(stack.run("docker", "inspect", "--format", "{{.State.Pid}}", "vuls-web-1")).strip()
    there = {
        "/run/vuls-web-": f"/proc/{process}/root/run/vuls-web-",
        "/etc/vuls/": f"/proc/{process}/root/etc/vuls/",
        "/var/lib/prometheus/node-exporter/": f"{tmp_path}/",
    }
    shown, *_ = run_page("docs/operations/monitoring.md", replace=there)
    assert "\nvuls_clients " in shown

    def lines(name: str) -> list[str]:
        return (tmp_path / name).read_text().splitlines()

    assert {f'vuls_clients{{number="{number}"}}' for number in (1, 2)} == {
        line.rpartition(" ")[0] for line in lines("vuls.prom") if line.startswith("vuls_clients{")
    }
    ends = [float(line.rpartition(" ")[2]) for line in lines("vuls-certificates.prom")]
    assert ends
    assert min(ends) > time.time()
    assert lines("vuls-drained.prom") == ["vuls_drained_instances 0"]


@pytest.fixture
def spare_database() -> Iterator[None]:
    """The database of the stack once more, as somebody carries a new one to the scan host."""
    stack.shell("vuls-worker", f"cp {DATABASE} {SPARE}")
    yield
    stack.shell("vuls-worker", f"rm -f {SPARE}")


@pytest.mark.usefixtures("spare_database")
def test_the_vulnerability_database() -> None:
    run_page(
        "docs/operations/vulnerability-database.md",
        "Before you start",
        "Steps: from a file (no network)",
        "Steps: it does not come",
        replace={"/path/to/vuls.db": SPARE},
    )
