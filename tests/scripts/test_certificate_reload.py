"""A host whose nginx cannot read a new certificate stays in the run, and its nginx has to read it later on."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .ansible import ROOT, ansible, said
from .rules import settings

SYSTEMCTL = """#!/bin/sh
case "$1 $2" in
"try-reload-or-restart {broken}") echo 'Job failed.' >&2; exit 1 ;;
show*) printf '%s\\n' ActiveState=active {result} 'ExecMainStartTimestamp=Mon 2024-01-01 10:00:00.000000 UTC' \
    'StateChangeTimestamp=Mon 2096-01-02 10:00:00.000000 UTC' ;;
esac
"""


def run(place: Path, play: dict[str, Any], *, broken: str = "", result: str = "") -> subprocess.CompletedProcess[str]:
    """Run a play on this machine, whose systemd is a script: a unit that cannot be reloaded, or the end of a reload."""
    program = place / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL.format(broken=broken, result=f"ReloadResult={result}"))
    program.chmod(0o755)
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "environment": {"PATH": f"{program.parent}:{os.environ['PATH']}"},
        **play,
    }
    (place / "play.yml").write_text(json.dumps([play]))
    line = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(place / "play.yml")]
    return ansible(*line, ANSIBLE_ROLES_PATH=str(ROOT / "roles"), HOME=os.environ.get("HOME", "/root"))


@pytest.mark.parametrize(("broken", "is_fatal"), [("nginx.service", False), ("redis-server.service", True)])
def test_an_nginx_that_does_not_read_a_certificate_is_told_of_and_fails_nothing(
    tmp_path: Path, broken: str, is_fatal: bool
) -> None:
    play: dict[str, Any] = {
        "vars": {"pki_reload_units": ["nginx.service", "redis-server.service"]},
        "tasks": [{"debug": {"msg": "new"}, "changed_when": True, "notify": "Read the new certificate"}],
        "handlers": [{"import_tasks": str(ROOT / "roles/pki/handlers/main.yml")}],
    }
    done = run(tmp_path, play, broken=broken)
    assert (done.returncode != 0) is is_fatal, said(done)
    assert is_fatal or "nginx.service does not read the new certificate" in said(done)
    assert is_fatal or "redis-server.service does not" not in said(done)


@pytest.mark.parametrize("result", ["success", "exit-code"])
def test_the_roles_of_nginx_read_a_certificate_that_a_failed_reload_did_not(tmp_path: Path, result: str) -> None:
    given, asked = {}, []
    for role in ("nginx", "nginx_stream"):
        for name in ("tls_ca_file", "tls_certificate", "tls_key"):
            given[f"{role}_{name}"] = str(tmp_path / f"{role}-{name}")
            (tmp_path / f"{role}-{name}").touch()
        tasks: Any = settings(ROOT / f"roles/{role}/tasks/configure.yml")
        asked += [task for task in tasks if task["name"] == "configure | Read what nginx has not read yet"]
    given["nginx_certificate_dir"] = str(tmp_path)
    told = [{"name": "Apply the configuration", "debug": {"msg": "told"}}]
    done = run(tmp_path, {"vars": given, "tasks": asked, "handlers": told}, result=result)
    assert done.returncode == 0, said(done)
    for path in [path for name, path in given.items() if "tls" in name]:
        assert (path in done.stdout) is (result != "success")
