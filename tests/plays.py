"""Playbooks of the checkout as an operator types them, and Ctrl-C."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable

from tests import environment
from tests.e2e import stack

INVENTORY = os.environ.get("VULS_TEST_INVENTORY", "inventories/local")
_PRESSES = 5


def start(verb: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a playbook in a process group of its own, as a terminal does."""
    # Who was started in the background ignores Ctrl-C, and so would all that it starts.
    program = ["env", "--default-signal=INT", str(stack.ROOT / ".venv/bin/ansible-playbook")]
    return subprocess.Popen(
        [*program, "-i", INVENTORY, f"playbooks/{verb}.yml", *arguments],
        cwd=stack.ROOT,
        # A task's name is printed when it begins only where skipped ones are printed, too.
        env=environment.of_the_checkout(ANSIBLE_DISPLAY_SKIPPED_HOSTS="true"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def play(verb: str, *arguments: str, timeout: float = 1500) -> tuple[int, str]:
    """Run a playbook; return its exit status and what it printed."""
    process = start(verb, *arguments)
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, output


def interrupted(verb: str, *arguments: str, at: str, when: Callable[[], object] | None = None) -> str:
    """Run a playbook, press Ctrl-C when a task whose name has `at` has begun, and return what it printed.

    With `when`, Ctrl-C waits until that says that the task is in the middle of its work.
    """
    process = start(verb, *arguments)
    assert process.stdout is not None
    seen: list[str] = []
    try:
        begun = False
        while not begun and (line := process.stdout.readline()):
            seen.append(line)
            begun = line.startswith("TASK") and at in line
        assert begun, f"no task {at!r}:\n{''.join(seen[-40:])}"
        if when:
            stack.wait_until(when, timeout=60, what=f"{at!r} is at work", interval=0.1)
        rest = _pressed(process)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode != 0, f"Ctrl-C at {at!r} did not end it:\n{rest[-2000:]}"
    return "".join(seen) + rest


def _pressed(process: "subprocess.Popen[str]") -> str:
    """Press Ctrl-C, again where Python lost it (raised in a destructor, it is ignored), and return what was printed."""
    for _attempt in range(_PRESSES):
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            rest, _ = process.communicate(timeout=20)
            return rest
    raise AssertionError(f"Ctrl-C was pressed {_PRESSES} times, and it goes on")
