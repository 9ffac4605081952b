"""Whether the process that has a run still lives."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from socket import gethostname

import pytest

from app.domain.owner import Owner, nobody_of
from app.tasks.owner import is_gone, own_name
from tests.waiting import wait_until

NAME = "from app.tasks.owner import own_name; print(own_name(), flush=True); input()"


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process, and what it calls itself."""
    process = subprocess.Popen([sys.executable, "-c", NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


def test_a_process_that_lives_is_not_gone(other: tuple[subprocess.Popen[str], str]) -> None:
    process, name = other
    assert Owner.parse(name).pid == process.pid
    assert not is_gone(name)
    assert not is_gone(own_name())


def test_a_killed_process_is_gone_before_and_after_its_parent_knows(other: tuple[subprocess.Popen[str], str]) -> None:
    process, name = other
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: is_gone(name))  # a zombie: nobody has asked how it ended
    process.wait()
    assert is_gone(name)


def test_another_process_with_the_same_number_is_not_taken_for_it(other: tuple[subprocess.Popen[str], str]) -> None:
    process, name = other
    owner = Owner.parse(name)
    assert owner.start is not None
    assert is_gone(f"{gethostname()}:{process.pid}:{owner.start - 1}:0a1b2c3d")


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        (nobody_of(gethostname()), True),
        (f"{gethostname()}:99999999999999999999:1:x", True),
        (f"{gethostname()}:1:x", False),  # an earlier release's: the process is there, its start is not on record
        ("elsewhere:4711:1:x", False),
        (nobody_of("elsewhere"), False),
    ],
)
def test_in_doubt_and_elsewhere_it_is_not_gone(name: str, gone: bool) -> None:
    assert is_gone(name) is gone


def test_each_attempt_has_a_name_of_its_own() -> None:
    assert own_name() != own_name()
