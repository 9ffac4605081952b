"""What playbooks/scan_hosts.yml refuses before it touches a target, on hosts that all are this machine."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .ansible import ROOT, ansible, copied, said

PLAYBOOK = "playbooks/scan_hosts.yml"


def inventory(place: Path) -> Path:
    """Return a copy of the example for production whose hosts cannot be reached, with a target."""
    copy = copied("production.example", place)
    target: dict[str, Any] = {"scan_targets": {"children": {"targets_dmz": {"hosts": {"shop-1": None}}}}}
    nowhere = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}
    fleet: dict[str, Any] = {"vars": nowhere}
    (copy / "more.yml").write_text(json.dumps({"all": {"children": target | {"fleet": fleet}}}))
    return copy


def state(place: Path, *, zones: tuple[str, ...] = ("dmz", "office")) -> Path:
    """Return a state directory with a CA and the zones' keys."""
    made = place / "state"
    for name in ("pki/ca.crt", *(f"secrets/ssh/id_ed25519_{zone}.pub" for zone in zones)):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text("ssh-ed25519 AAAA scan\n")
    return made


def run(copy: Path, directory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    line = ["-i", str(copy), PLAYBOOK, *more]
    return ansible("ansible-playbook", *line, VULS_STATE_DIR=str(directory), ANSIBLE_TIMEOUT="2")


@pytest.mark.parametrize("limit", ["all", "shop-1", "scan-dmz-1", "web-1"])
def test_a_state_directory_that_nothing_was_deployed_from_is_refused_first(tmp_path: Path, limit: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    done = run(inventory(tmp_path), elsewhere, "--limit", limit)
    assert done.returncode != 0
    assert f"The state directory {elsewhere} lacks the certificate of the CA" in said(done)
    assert "and any SSH key of the zones" in said(done)
    assert "VULS_STATE_DIR" in said(done)
    assert "Let the scan hosts look at their targets" not in done.stdout
    assert not elsewhere.exists()


def test_a_dry_run_before_the_first_deployment_passes(tmp_path: Path) -> None:
    done = run(inventory(tmp_path), tmp_path / "elsewhere", "--check", "--limit", "localhost")
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize(("keys", "is_fine"), [(["ssh-ed25519 AAAA scan"], True), ([], False)])
def test_a_target_that_would_let_nobody_in_is_refused(tmp_path: Path, keys: list[str], is_fine: bool) -> None:
    tasks = [{"import_role": {"name": "scan_target", "tasks_from": "preflight"}}]
    given = {"scan_target_authorized_keys": keys, "scan_target_registry_dir": "/nowhere", "scan_target_from": []}
    play = [{"hosts": "all", "gather_facts": False, "vars": given, "tasks": tasks}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    line = ["-i", "shop-1,", "-c", "local", str(tmp_path / "play.yml")]
    done = ansible("ansible-playbook", *line, ANSIBLE_ROLES_PATH=str(ROOT / "roles"))
    assert (done.returncode == 0) is is_fine, said(done)
    assert is_fine or "no scan host could log in" in said(done)


def here(place: Path, *, down: str) -> tuple[Path, Path]:
    """Return an inventory of hosts that are this machine but for one, and its state directory with a target."""
    copy, made = inventory(place), state(place)
    local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    (copy / "host_vars").mkdir()
    for host in {"scan-dmz-1", "scan-office-1", "web-1", "shop-1"} - {down}:
        (copy / f"host_vars/{host}.yml").write_text(json.dumps(local))
    record = {"host": {"name": "shop-1", "zone": "dmz"}, "ssh": {"user": "vuls", "host_keys": []}, "tasks": []}
    (made / "targets").mkdir()
    (made / "targets/shop-1.json").write_text(json.dumps(record))
    return copy, made


@pytest.mark.parametrize(
    ("limit", "left_out"),
    [
        ("localhost,shop-1", "scan-dmz-1, scan-office-1, web-1"),
        ("localhost,shop-1,scan-dmz-1,web", "scan-office-1"),
        ("shop-1,scan_hosts,web", "localhost"),
    ],
)
def test_a_removal_that_cannot_tell_everybody_is_refused_first(tmp_path: Path, limit: str, left_out: str) -> None:
    copy, made = here(tmp_path, down="shop-1")
    done = run(copy, made, "-e", "scan_hosts_remove=shop-1", "--limit", limit)
    assert done.returncode != 0
    assert f"--limit leaves out {left_out}. " in said(done)
    assert f"Add {left_out.replace(', ', ',')} to --limit" in said(done)
    assert "Find the targets that are to go" not in done.stdout
    assert (made / "targets/shop-1.json").exists()


@pytest.mark.parametrize(("down", "is_fine"), [("scan-office-1", False), ("lb-1", True)])
def test_a_removal_that_a_scan_host_was_not_told_of_leaves_the_target_alone(
    tmp_path: Path, down: str, is_fine: bool
) -> None:
    """In check mode, so that this machine is not told anything."""
    copy, made = here(tmp_path, down=down)
    root = {"executor_config_dir": str(tmp_path / "executor"), "executor_user": "root", "scan_hosts_remove": "shop-1"}
    done = run(copy, made, "--check", "-e", json.dumps(root))
    assert ("scan-office-1 could not be told to forget shop-1" in said(done)) is not is_fine, said(done)
    assert ("Take the access to removed targets away" in done.stdout) is is_fine
    assert (done.returncode == 0) is is_fine, said(done)
