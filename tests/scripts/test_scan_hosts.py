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
