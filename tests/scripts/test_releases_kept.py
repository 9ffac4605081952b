"""Which releases a rollout leaves on a host: all that it, or a rollback after it, may go back to."""

import json
import os
import subprocess
import sys
from pathlib import Path

from .ansible import ROOT, ansible, said

BEFORE, RUNS, BROKEN, BROKEN_TOO, BROKEN_AGAIN = (letter * 12 for letter in "abcde")


def switched(root: Path, way: str, target: str, **other: str) -> str:
    """Let this machine's `root` go a way of a rollout between RUNS and `target`; return what Ansible said."""
    variables = {
        "__rollout_way": way,
        "rollout_app_root": str(root),
        "rollout_target": target,
        "rollout_back": RUNS,
        "rollout_runs": RUNS,
        "rollout_ran": BEFORE,
        **other,
        **{f"rollout_{name}": [] for name in ("web", "loadbalancers", "schedulers", "scan_hosts", "database_hosts")},
    }
    play = root.parent / "play.yml"
    tasks = [{"include_role": {"name": "rollout", "tasks_from": "switch"}, "vars": variables}]
    facts = {"python": {"version": {"major": 3, "minor": 11}}, "architecture": "x86_64"}
    given = {"ansible_facts": facts, "vuls_no_log": True, "app_release_artifacts_dir": "/nowhere"}
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": given, "tasks": tasks}]))
    line = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(play)]
    result = ansible(*line, ANSIBLE_ROLES_PATH=str(ROOT / "roles"), HOME=os.environ.get("HOME", "/root"))
    assert result.returncode == 0, said(result)
    return said(result)


def test_one_broken_release_after_the_other_goes_back_and_leaves_what_was_before_them(tmp_path: Path) -> None:
    root = tmp_path / "vuls"
    for age, release in enumerate((BROKEN_AGAIN, BROKEN_TOO, BROKEN, RUNS, BEFORE)):
        (root / "releases" / release).mkdir(parents=True)
        os.utime(root / "releases" / release, (1_800_000_000 - age, 1_800_000_000 - age))
    (root / "current").symlink_to(f"releases/{RUNS}")
    (root / "previous").symlink_to(f"releases/{BEFORE}")

    switched(root, "there", BROKEN_AGAIN)
    assert (root / "current").readlink().name == BROKEN_AGAIN
    assert (root / "releases" / BEFORE).is_dir(), "a rollback may want it after the way back"
    switched(root, "back", BROKEN_AGAIN)
    assert (root / "current").readlink().name == RUNS
    assert (root / "previous").resolve() == root / "releases" / BEFORE


def test_a_release_that_a_process_runs_from_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "vuls"
    serving, *newer = "0" * 12, RUNS, BROKEN, BROKEN_TOO
    for age, release in enumerate((BROKEN_AGAIN, *reversed(newer), serving, BEFORE)):
        (root / "releases" / release).mkdir(parents=True)
        os.utime(root / "releases" / release, (1_800_000_000 - age, 1_800_000_000 - age))
    (root / "current").symlink_to(f"releases/{BROKEN_TOO}")
    program = root / "releases" / serving / "serves"
    program.write_text("import time\ntime.sleep(600)\n")
    with subprocess.Popen([sys.executable, program]) as process:
        switched(root, "there", BROKEN_AGAIN, rollout_runs=RUNS, rollout_ran="")
        process.kill()
    assert program.exists()
    assert not (root / "releases" / BEFORE).exists()


def test_the_way_back_does_not_need_the_release_that_was_there_before(tmp_path: Path) -> None:
    root = tmp_path / "vuls"
    for release in (BROKEN, RUNS):
        (root / "releases" / release).mkdir(parents=True)
    (root / "current").symlink_to(f"releases/{BROKEN}")
    (root / "previous").symlink_to(f"releases/{RUNS}")

    switched(root, "back", BROKEN)
    assert (root / "current").readlink().name == RUNS
