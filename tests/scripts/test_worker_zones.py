"""A scan host that changes its zone leaves the old one. Files stand for those of the host, a script for systemctl."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from .ansible import ROOT, ansible, said

# Every unit runs and is enabled; what is done is written down.
SYSTEMCTL = """#!/bin/sh
case "$1" in
show) printf 'Id=%s\\nLoadState=loaded\\nActiveState=active\\n' "$2" ;;
is-enabled) echo enabled ;;
stop | disable) echo "$1 $2" >>"$DONE" ;;
esac
"""


def host(place: Path, *zones: str) -> list[Path]:
    """Make a host with workers of these zones, running and enabled; returns the places where they leave traces."""
    places = [place / name for name in ("vuls", "wants", "units")]
    for directory in (*places, place / "bin"):
        directory.mkdir()
    for zone in zones:
        (places[0] / f"worker-{zone}/secrets").mkdir(parents=True)
        (places[1] / f"vuls-worker@{zone}.service").symlink_to("/no/such/unit")
        (places[2] / f"invocation:vuls-worker@{zone}.service").symlink_to("0123")
    for name in ("executor", "web-1", "worker-old.bak"):
        (places[0] / name).mkdir()
    (place / "bin/systemctl").write_text(SYSTEMCTL)
    (place / "bin/systemctl").chmod(0o755)
    return places


def leave(place: Path, places: list[Path], *flags: str, **given: Any) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the tasks for a host of zone new; returns what was printed and what systemctl was told to do."""
    tasks = [{"include_role": {"name": "worker", "tasks_from": "zones"}}]
    required = ("database_host", "database_password", "redis_host", "redis_password", "executor_api_key")
    more = {f"worker_{name}": "x" for name in required} | {"worker_zone": "new", "vuls_no_log": True} | given
    (place / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    line = ["-i", "scan-1,", "-c", "local", "-e", json.dumps(more | {"__worker_places": [str(one) for one in places]})]
    done = ansible(
        "ansible-playbook",
        *line,
        *flags,
        str(place / "play.yml"),
        ANSIBLE_ROLES_PATH=str(ROOT / "roles"),
        PATH=f"{place / 'bin'}:{os.environ['PATH']}",
        DONE=str(place / "done"),
    )
    assert done.returncode == 0, said(done)
    return done, (place / "done").read_text() if (place / "done").exists() else ""


def test_the_worker_of_the_old_zone_is_stopped_and_its_passwords_go(tmp_path: Path) -> None:
    places = host(tmp_path, "new", "old")
    done, told = leave(tmp_path, places, "--check")
    assert "changed=2" in said(done)
    assert told == ""
    assert (places[0] / "worker-old").exists()
    done, told = leave(tmp_path, places)
    assert sorted(told.splitlines()) == ["disable vuls-worker@old.service", "stop vuls-worker@old.service"]
    assert sorted(path.name for path in places[0].iterdir()) == ["executor", "web-1", "worker-new", "worker-old.bak"]


def test_a_worker_without_settings_that_runs_is_stopped_too(tmp_path: Path) -> None:
    places = host(tmp_path, "new")
    (places[2] / "invocation:vuls-worker@lost.service").symlink_to("0123")
    assert "stop vuls-worker@lost.service" in leave(tmp_path, places)[1]


def test_where_there_is_no_other_zone_nothing_is_done(tmp_path: Path) -> None:
    places = host(tmp_path, "new", "also")
    done, told = leave(tmp_path, places, worker_further_zones=["also"])
    assert "changed=0" in said(done)
    assert told == ""
    assert (places[0] / "worker-also").exists()
