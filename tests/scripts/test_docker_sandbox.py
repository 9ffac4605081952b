"""An engine that runs in another sandbox than it shall is restarted, also where no file changes any more."""

import json
import os
from pathlib import Path
from typing import Any

from .ansible import ROOT, ansible, said


def states(containerd: str, engine: str, *, is_read: bool = True) -> str:
    """Return what systemd says of both units."""
    reload = "NeedDaemonReload=" + ("no" if is_read else "yes")
    return f"ActiveState={containerd}\n{reload}\n\nActiveState={engine}\n{reload}"


UP = states("active", "active")
BOTH = "12 containerd\n34 dockerd"
HOSTS: dict[str, tuple[bool, str, str]] = {
    # By host: docker_sandbox, what systemd says, and who is in the host's mount namespace.
    "sound": (True, UP, ""),
    "sound-without": (False, UP, BOTH),
    # Nobody is in a sandbox there, whatever was not read.
    "unread-without": (False, states("active", "active", is_read=False), BOTH),
    "not-installed": (True, states("inactive", "inactive"), ""),
    "down": (True, states("inactive", "inactive", is_read=False), ""),
    "broken-off": (True, states("active", "inactive", is_read=False), "12 containerd"),
    "broken-off-and-read": (True, states("active", "inactive"), "12 containerd"),
    "another-sandbox": (True, states("active", "inactive", is_read=False), ""),
    "two-namespaces": (True, UP, "34 dockerd"),
    "turned-off": (False, states("active", "inactive"), ""),
}
DUE = {"broken-off", "broken-off-and-read", "another-sandbox", "two-namespaces", "turned-off"}


def test_what_runs_in_another_sandbox_is_due_and_what_runs_as_it_shall_is_not(tmp_path: Path) -> None:
    for host, (_, shown, outside) in HOSTS.items():
        programs = tmp_path / host
        programs.mkdir()
        (programs / "systemctl").write_text(f"#!/bin/sh\ncat <<'END'\n{shown}\nEND\n")
        (programs / "pgrep").write_text(f"#!/bin/sh\necho '{outside}'\nexit {0 if outside else 1}\n")
        for program in programs.iterdir():
            program.chmod(0o755)
    notify = {"name": "Restart the engine", "debug": {"msg": "restarted"}, "changed_when": True}
    play: dict[str, Any] = {
        "hosts": "all",
        "gather_facts": False,
        "environment": {"PATH": str(tmp_path) + "/{{ inventory_hostname }}:" + os.environ["PATH"]},
        "vars_files": [str(ROOT / "roles/docker/vars/main.yml")],
        "tasks": [{"import_tasks": str(ROOT / "roles/docker/tasks/run.yml")}],
        "handlers": [notify],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    hosts = {host: {"docker_sandbox": on} for host, (on, _, _) in HOSTS.items()}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    line = ["ansible-playbook", "--check", "-i", str(tmp_path / "hosts.yml"), "-c", "local"]
    done = ansible(*line, str(tmp_path / "play.yml"), HOME=os.environ.get("HOME", "/root"))
    assert done.returncode == 0, said(done)
    handled = done.stdout.split("RUNNING HANDLER", 1)[1].split("TASK [", 1)[0]
    assert {host for host in HOSTS if f"[{host}]" in handled} == DUE, said(done)
