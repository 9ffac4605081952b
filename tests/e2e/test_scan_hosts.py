"""playbooks/scan_hosts.yml as docs/operations/scan-hosts.md has it: a target is removed, and added again."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.runbooks import run_page

from . import stack

PLAYBOOK = "playbooks/scan_hosts.yml"
NAME, TASK = "vuls-target-2", 2
OTHER_TASK = 1
KNOWN_HOSTS = "/etc/vuls/executor/ssh/known_hosts"
TARGETS = "/etc/vuls/executor/targets.json"
RECORD = stack.LOCAL / "targets" / f"{NAME}.json"


def known_hosts() -> set[str]:
    """Return the names whose host key the scan host knows."""
    lines = stack.must(stack.on("vuls-worker", "cat", KNOWN_HOSTS)).splitlines()
    return {line.split()[0] for line in lines if line and not line.startswith("#")}


def targets() -> set[str]:
    return set(json.loads(stack.must(stack.on("vuls-worker", "cat", TARGETS)))["targets"])


@pytest.fixture(scope="module")
def bring_back(admin: httpx.Client) -> Iterator[Callable[[], None]]:
    """Remove the target, which was scanned before; gives what adds it again, which happens at the end at the latest."""
    run = stack.start_run(admin, TASK)
    assert stack.finished(admin, run["id"])["status"] == "success"
    assert NAME in known_hosts() & targets()
    assert RECORD.exists()
    pending = [True]

    def add() -> None:
        if pending:
            pending.clear()
            run_page("docs/operations/scan-hosts.md", "Steps: add or refresh")

    try:
        run_page("docs/operations/scan-hosts.md", "Steps: remove", replace={"NAME": NAME})
        yield add
    finally:
        add()


def test_a_name_that_no_target_has_is_refused_and_nothing_is_removed() -> None:
    before = known_hosts()
    refused = stack.ansible_playbook(PLAYBOOK, "-e", "scan_hosts_remove=vuls-traget-2")
    assert refused.returncode != 0
    said = " ".join((refused.stdout + refused.stderr).split())
    assert "No target is called vuls-traget-2, so nothing was removed" in said
    assert known_hosts() == before
    assert RECORD.exists()


@pytest.mark.usefixtures("bring_back")
def test_the_scan_host_forgets_key_and_address_of_a_removed_target() -> None:
    assert NAME not in known_hosts()
    assert NAME not in targets()
    assert not RECORD.exists()
    assert {"vuls-target-1"} == known_hosts() == targets(), "the other target stays"


@pytest.mark.usefixtures("bring_back")
def test_the_scanning_user_and_its_key_are_gone_from_a_removed_target() -> None:
    assert stack.on(NAME, "id", "vuls").returncode != 0
    for path in ("/etc/ssh/authorized_keys.d/vuls", "/etc/ssh/sshd_config.d/50-vuls-live.conf", "/var/lib/vuls-scan"):
        assert stack.on(NAME, "test", "-e", path).returncode == 1, f"{path} is still there"
    assert stack.on(NAME, "systemctl", "is-active", "ssh").stdout.strip() == "active", "others use the SSH server"


@pytest.mark.usefixtures("bring_back")
def test_the_tasks_of_a_removed_target_are_off_and_its_runs_stay(admin: httpx.Client) -> None:
    task = admin.get(f"/api/scheduled-tasks/{TASK}").raise_for_status().json()
    assert task["enabled"] is False
    assert task["next_due_at"] is None
    assert admin.get(f"/api/scheduled-tasks/{OTHER_TASK}").json()["enabled"] is True
    assert admin.get(f"/api/scheduled-tasks/{TASK}/runs").raise_for_status().json()["items"]
    assert admin.get("/api/hosts/2/findings").raise_for_status().json()["items"]


@pytest.mark.usefixtures("bring_back")
def test_a_run_of_a_removed_target_ends_with_a_sentence(admin: httpx.Client) -> None:
    run = stack.start_run(admin, TASK)
    ended = stack.finished(admin, run["id"])
    reason = ended["result_data"]["reason"]
    assert (ended["status"], ended["result_data"]["verdict"], reason["code"]) == ("failed", "failed", "unknown_server")
    assert NAME in reason["sentence"]
    assert "scan_hosts" in reason["sentence"]
    assert ended["result_data"]["vulnerabilities"] is None


@pytest.mark.usefixtures("bring_back")
def test_the_other_target_is_scanned_as_before(admin: httpx.Client) -> None:
    run = stack.start_run(admin, OTHER_TASK)
    assert stack.finished(admin, run["id"])["status"] == "success"


def test_a_target_that_is_added_again_can_be_scanned(bring_back: Callable[[], None], admin: httpx.Client) -> None:
    bring_back()
    assert NAME in known_hosts() & targets()
    assert stack.on(NAME, "id", "vuls").returncode == 0
    assert admin.get(f"/api/scheduled-tasks/{TASK}").json()["enabled"] is True
    run = stack.start_run(admin, TASK)
    ended = stack.finished(admin, run["id"])
    assert (ended["status"], ended["result_data"]["verdict"]) == ("success", "assessed"), ended


IMPORTED = "shop-1-example-test"


@pytest.fixture
def other_inventory(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Gives what to put for the files and the group of the page: an inventory whose one host is a target already."""
    hosts, chosen = tmp_path / "hosts.ini", tmp_path / "import.yml"
    hosts.write_text(
        "[shop]\n"
        "shop-1.example.test ansible_host=vuls-target-1 ansible_connection=community.docker.docker"
        " ansible_python_interpreter=/usr/bin/python3\n"
        "[databases]\nshop-2.example.test ansible_host=192.0.2.7\n"
    )
    chosen.write_text("scan_targets:\n  children:\n    shop:\n      vars:\n        scan_target_groups: [shop]\n")
    try:
        yield {"/etc/ansible/hosts": str(hosts), "import.yml": str(chosen), "webservers": "shop"}
    finally:
        if IMPORTED in targets():
            stack.must(stack.ansible_playbook(PLAYBOOK, "-e", f"scan_hosts_remove={IMPORTED}"))


def test_hosts_of_another_inventory_are_brought_in_and_can_be_scanned(
    other_inventory: dict[str, str], admin: httpx.Client
) -> None:
    run_page("docs/operations/scan-hosts.md", "Steps: bring in the hosts of another inventory", replace=other_inventory)
    hosts = {host["name"]: host for host in admin.get("/api/hosts").raise_for_status().json()["items"]}
    assert "shop-2-example-test" not in hosts, "only the chosen groups are brought in"
    assert {"vuls-target-1", "vuls-target-2"} < hosts.keys() & targets(), "the others stay"
    host = hosts[IMPORTED]
    assert (host["address"], host["port"], host["groups"]) == ("vuls-target-1", 22, ["shop"])
    body = {"name": "Scan the shop", "host_id": host["id"]}
    task = admin.post("/api/scheduled-tasks", json=body).raise_for_status().json()
    ended = stack.finished(admin, stack.start_run(admin, task["id"])["id"])
    assert (ended["status"], ended["result_data"]["verdict"]) == ("success", "assessed"), ended
