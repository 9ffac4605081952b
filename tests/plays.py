"""Playbooks of the checkout as an operator types them, and Ctrl-C."""

import os
import signal
import subprocess
import time

from tests.e2e import stack

INVENTORY = os.environ.get("VULS_TEST_INVENTORY", "inventories/local")
_INTO = 0.7  # seconds into a task


def environment() -> dict[str, str]:
    """Return the settings of the checkout, without Molecule's own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    # A task's name is printed when it begins only where skipped ones are printed, too.
    shown = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}
    return own | shown | {"ANSIBLE_CONFIG": str(stack.ROOT / "ansible.cfg")}


def start(verb: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a playbook in a process group of its own, as a terminal does."""
    # Who was started in the background ignores Ctrl-C, and so would all that it starts.
    program = ["env", "--default-signal=INT", str(stack.ROOT / ".venv/bin/ansible-playbook")]
    return subprocess.Popen(
        [*program, "-i", INVENTORY, f"playbooks/{verb}.yml", *arguments],
        cwd=stack.ROOT,
        env=environment(),
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


def interrupted(verb: str, *arguments: str, at: str) -> str:
    """Run a playbook, press Ctrl-C in the middle of a task whose name has `at`, and return what it printed."""
    process = start(verb, *arguments)
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith("TASK") and at in line:
            time.sleep(_INTO)
            os.killpg(process.pid, signal.SIGINT)
            break
    else:
        raise AssertionError(f"no task {at!r}:\n{''.join(seen[-40:])}")
    rest, _ = process.communicate(timeout=120)
    assert process.returncode != 0, f"Ctrl-C at {at!r} did not end it:\n{rest[-2000:]}"
    return "".join(seen) + rest
