"""One operator at a time: who gets the lock, who is told of whom, and who may give it back."""

import importlib.util
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).parents[1] / "files"
ALICE, BOB = {"user": "alice", "host": "a", "pid": 1}, {"user": "bob", "host": "b", "pid": 2}


def lock(verb: str, file: Path, *arguments: str) -> dict[str, Any]:
    """Run the program as the role does, from its standard input."""
    command = [sys.executable, "-", verb, str(file), *arguments]
    program = (FILES / "lock.py").read_text()
    done = subprocess.run(command, input=program, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "made" / "lock"


def test_the_second_is_told_who_has_it_and_cannot_give_it_back(file: Path) -> None:
    assert lock("take", file, json.dumps(ALICE)) == {"taken": True}
    assert lock("take", file, json.dumps(BOB)) == {"taken": False, "holder": ALICE}
    assert lock("release", file, "2", "b") == {"released": False}
    assert lock("release", file, "1", "b") == {"released": False}
    assert lock("release", file, "1", "a") == {"released": True}
    assert lock("take", file, json.dumps(BOB)) == {"taken": True}


def test_it_is_taken_from_the_holder_that_was_seen_and_from_nobody_else(file: Path) -> None:
    lock("take", file, json.dumps(ALICE))
    assert lock("take", file, json.dumps(BOB), json.dumps({**ALICE, "pid": 7})) == {"taken": False, "holder": ALICE}
    assert lock("take", file, json.dumps(BOB), json.dumps(ALICE)) == {"taken": True}
    assert lock("take", file, json.dumps(ALICE), json.dumps(ALICE)) == {"taken": False, "holder": BOB}


def test_a_lock_that_nobody_can_read_is_a_lock_until_it_is_broken(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("{")
    assert lock("take", file, json.dumps(BOB)) == {"taken": False, "holder": {}}
    assert lock("take", file, json.dumps(BOB), "{}") == {"taken": True}


@pytest.mark.parametrize("left", [None, ALICE])
def test_of_many_at_once_one_gets_it(file: Path, left: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    file.parent.mkdir()
    spec = importlib.util.spec_from_file_location("lock", FILES / "lock.py")
    assert spec
    assert spec.loader
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    if left:
        program.take(file, json.dumps(left))
    reads = program.read

    def reads_and_dawdles(from_: Path) -> dict[str, object]:
        holder: dict[str, object] = reads(from_)
        time.sleep(0.05)
        return holder

    monkeypatch.setattr(program, "read", reads_and_dawdles)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(program.take, file, json.dumps({"pid": n}), json.dumps(left)) for n in range(8)]
        assert [answer.result()["taken"] for answer in asked].count(True) == 1


@pytest.mark.parametrize(
    ("seconds", "same"), [("01", True), ("02", True), ("04", False)], ids=["equal", "the clock was set", "another"]
)
def test_a_clock_that_is_set_makes_no_other_process_of_a_holder(seconds: str, same: bool) -> None:
    spec = importlib.util.spec_from_file_location("holder", FILES / "holder.py")
    assert spec
    assert spec.loader
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    assert program.same_moment("Mon Nov 30 04:55:01 2026", f"Mon Nov 30 04:55:{seconds} 2026") is same


def test_the_holder_of_a_lock_is_known_to_run_or_not() -> None:
    program = [sys.executable, str(FILES / "holder.py")]
    me = json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
    assert me["pid"] > 1
    assert me["started"]
    # Whoever runs these tests is no ansible-playbook, and no process has this number.
    for pid in (str(me["pid"]), "999999999"):
        again = subprocess.run([*program, pid, me["started"]], capture_output=True, text=True, check=True)
        assert json.loads(again.stdout)["alive"] is False
