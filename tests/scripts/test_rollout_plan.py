"""What a rollout decides before it touches anything: whether it may, and where back leads to."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .ansible import ROOT, ansible, said

OLD, RUNS, TARGET = (letter * 12 for letter in "abc")
HOST = "localhost"
# In the place of a release's own: says what a file beside the release says, and refuses settings that hold `wrong`.
WITH_SETTINGS = """#!/bin/sh
here=$(dirname "$0")/releases/$2
[ -d "$here" ] || { echo "there is no release $2" >&2; exit 2; }
case " $* " in
*" -c "*) if grep -q wrong; then echo "wrong: is not right"; exit 1; fi ;;
*) cat "$here/schema.json" ;;
esac
"""
EXPANDS, CONTRACTS = {"revision": "2", "kind": "expand", "what": ""}, {"revision": "3", "kind": "contract", "what": ""}
FIRST = {"revision": "1", "kind": "expand", "what": ""}

SETTINGS = [f"scheduler_{name}" for name in ("database_host", "database_name", "redis_host")]


def play(place: Path, *tasks: str | dict[str, Any], **variables: Any) -> tuple[bool, str]:
    """Let this machine go through entry points of the role; return whether that went well, and what Ansible said."""
    hosts: dict[str, list[str]] = {
        f"rollout_{name}": [] for name in ("web", "loadbalancers", "scan_hosts", "database_hosts")
    }
    given = {
        **hosts,
        "vuls_no_log": True,
        "rollout_schedulers": [HOST],
        "rollout_app_root": str(place / "vuls"),
        "rollout_executor_root": str(place / "executor"),
        "rollout_lock_host": HOST,
        "rollout_lock_dir": str(place / "lock"),
        "scheduler_release_root": str(place / "vuls"),
        **dict.fromkeys(SETTINGS, "x"),
        **variables,
    }
    steps = [
        {"include_role": {"name": "rollout", "tasks_from": task}} if isinstance(task, str) else task for task in tasks
    ]
    file = place / "play.yml"
    file.write_text(json.dumps([{"hosts": HOST, "gather_facts": False, "vars": given, "tasks": steps}]))
    line = ["-i", f"{HOST},", "-c", "local", str(file)]
    done = ansible(
        "ansible-playbook", *line, ANSIBLE_ROLES_PATH=str(ROOT / "roles"), HOME=os.environ.get("HOME", "/root")
    )
    return done.returncode == 0, said(done)


def release(place: Path, name: str, current: str, *knows: dict[str, str]) -> None:
    """Put a release there, with what it says of a database that is at a revision."""
    root = place / "vuls"
    (root / "releases" / name).mkdir(parents=True)
    revisions = [one["revision"] for one in knows]
    applied = knows[: revisions.index(current) + 1] if current in revisions else ()
    answer = {"current": current, "head": revisions[-1], "migrations": knows, "applied": applied}
    (root / "releases" / name / "schema.json").write_text(json.dumps(answer))
    (root / "with-settings").write_text(WITH_SETTINGS)
    (root / "with-settings").chmod(0o755)


GOES_BACK = {"set_fact": {"rollout_target": OLD, "rollout_runs": RUNS, "rollout_back": RUNS}}
ROLLBACK = {"rollout_verb": "rollback", "rollout_web": ["elsewhere"]}


@pytest.mark.parametrize(
    ("current", "well", "words"),
    [("1", True, ""), ("2", True, ""), ("3", False, "needs what later migrations took away: 3"), ("9", False, "knows")],
    ids=["nothing is applied", "what takes away waits", "what takes away is applied", "nobody knows it"],
)
def test_a_rollback_is_refused_by_what_the_database_has_not_by_what_waits(
    tmp_path: Path, current: str, well: bool, words: str
) -> None:
    release(tmp_path, OLD, current, FIRST)
    release(tmp_path, RUNS, current, FIRST, EXPANDS, CONTRACTS)
    went_well, output = play(tmp_path, GOES_BACK, "guard", **ROLLBACK)
    assert went_well is well, output
    assert words in output


def test_a_release_that_is_damaged_may_be_left(tmp_path: Path) -> None:
    release(tmp_path, OLD, "1", FIRST)
    assert play(tmp_path, GOES_BACK, "guard", **ROLLBACK)[0], "what runs is gone from the disk"
    (tmp_path / f"vuls/releases/{OLD}/schema.json").unlink()
    well, output = play(tmp_path, GOES_BACK, "guard", **ROLLBACK)
    assert not well
    assert f"Release {OLD} cannot say" in output


def test_settings_that_the_release_does_not_take_are_refused_before_anything_is_switched(tmp_path: Path) -> None:
    release(tmp_path, OLD, "1", FIRST)
    well, output = play(
        tmp_path, GOES_BACK, "guard", rollout_verb="rollback", scheduler_extra_settings={"misfire_grace": "wrong"}
    )
    assert not well
    assert "the inventory gives vuls-scheduler on localhost: wrong: is not right. Nothing was changed." in output


BEGAN = 1_800_000_000
SHOWS = {"debug": {"msg": "back to {{ rollout_back }}."}}


@pytest.mark.parametrize(
    ("switched_at", "interrupted", "back"),
    [
        (BEGAN - 86400, None, TARGET),
        (BEGAN - 86400, {"began": BEGAN}, TARGET),
        (BEGAN + 60, {"began": BEGAN}, RUNS),
        (BEGAN - 86400, {}, RUNS),
    ],
    ids=["has run it for long", "was not reached", "was switched by it", "an interrupted run of before this was noted"],
)
def test_the_way_back_of_a_host_that_runs_the_target_leads_there_unless_the_interrupted_run_brought_it(
    tmp_path: Path, switched_at: int, interrupted: dict[str, int] | None, back: str
) -> None:
    (tmp_path / "vuls").mkdir()
    for link, name in (("current", TARGET), ("previous", RUNS)):
        (tmp_path / "vuls" / link).symlink_to(f"releases/{name}")
        os.utime(tmp_path / "vuls" / link, (switched_at, switched_at), follow_symlinks=False)
    before = {"rollout_interrupted": interrupted} if interrupted is not None else {}
    well, output = play(tmp_path, "runs", "way_back", SHOWS, rollout_target=TARGET, **before)
    assert well, output
    assert f"back to {back}." in output


LEFT = {"verb": "rollout", "host": "elsewhere", "user": "anna", "pid": 1, "started": "", "release": TARGET}


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Return the lock of a run that was interrupted on this machine."""
    (tmp_path / "lock").mkdir()
    file = tmp_path / "lock/lock"
    file.write_text(json.dumps(LEFT | {"host": os.uname().nodename, "pid": 999_999_999, "hosts": [HOST]}))
    return file


def test_a_run_that_leaves_out_hosts_of_an_interrupted_one_is_refused(tmp_path: Path, lock: Path) -> None:
    assert play(tmp_path, "lock", rollout_verb="rollout")[0]
    lock.write_text(json.dumps(LEFT | {"host": os.uname().nodename, "pid": 999_999_999, "hosts": [HOST, "web-2"]}))
    before = lock.read_text()
    well, output = play(tmp_path, "lock", rollout_verb="rollout")
    assert not well
    assert "leaves out hosts of it: web-2" in output
    assert lock.read_text() == before
    assert play(tmp_path, "lock", rollout_verb="rollout", rollout_break_lock=True)[0]


@pytest.mark.parametrize("reached", [False, True])
def test_what_ends_before_its_first_batch_leaves_the_interrupted_run_as_it_was(
    tmp_path: Path, lock: Path, reached: bool
) -> None:
    before = json.loads(lock.read_text())
    fails = {"set_fact": {"rollout_error": "no room"} | ({"rollout_reached": 0} if reached else {})}
    well, output = play(tmp_path, "lock", fails, "stop", rollout_verb="rollback")
    assert not well
    assert "Reason on localhost: no room" in output
    assert lock.exists() is not reached
    if not reached:
        assert json.loads(lock.read_text()) == before
        assert "is still not done, and its lock is kept" in output
