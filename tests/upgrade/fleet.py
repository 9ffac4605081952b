"""The hosts of the story, what runs on them, and the traffic that goes on meanwhile."""

import json
import os
import signal
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.e2e import stack
from tests.traffic import running

# Another stack than that of the local inventory: its hosts' first word, and its inventory.
PREFIX = os.environ.get("VULS_TEST_PREFIX", "vuls")
INVENTORY = os.environ.get("VULS_TEST_INVENTORY", "inventories/local")
STATE = Path(os.environ.get("VULS_STATE_DIR", stack.LOCAL))
BALANCER, DATABASE, WORKER = (f"{PREFIX}-{name}" for name in ("lb", "db", "worker"))
WEB = (f"{PREFIX}-web-1", f"{PREFIX}-web-2")
# What a reader puts in the place of the pages' names.
REPLACE = {"inventories/local": INVENTORY} | {
    f"vuls-{name}": f"{PREFIX}-{name}" for name in ("web-1", "web-2", "db", "worker")
}
PREVIOUS = (stack.ROOT / "molecule/upgrade/previous-release").read_text().strip()


def environment() -> dict[str, str]:
    """Return the settings of the checkout, without Molecule's own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return own | {"ANSIBLE_CONFIG": str(stack.ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}


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
    """Run a playbook, press Ctrl-C as soon as a task whose name has `at` begins, and return what it printed."""
    process = start(verb, *arguments)
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith("TASK") and at in line:
            os.killpg(process.pid, signal.SIGINT)
            break
    else:
        raise AssertionError(f"no task {at!r}:\n{''.join(seen[-40:])}")
    rest, _ = process.communicate(timeout=120)
    assert process.returncode != 0, f"Ctrl-C at {at!r} did not end it:\n{rest[-2000:]}"
    return "".join(seen) + rest


def release_of(host: str) -> str:
    """Return the id of the application's release that is current on a host."""
    return stack.must(stack.on(host, "readlink", "/opt/vuls/current")).strip().rpartition("/")[2]


def serving() -> dict[str, str]:
    """Return the release of each web instance that is ready; what is not has its reason there."""
    found: dict[str, str] = {}
    for host in WEB:
        rows = json.loads(stack.on(host, "vulsctl", "status", "--json").stdout)["items"]
        found |= {row["instance"]: row["release"] if row["ready"] else str(row["reason"]) for row in rows}
    return found


def ask_database(sql: str) -> str:
    """Return what the database answers, as psql prints it without a frame."""
    return stack.must(stack.on(DATABASE, "psql", "-XAtq", "-d", "vuls", "-c", sql, user="postgres")).strip()


def assert_all_serve(release: str) -> None:
    """Check that everything runs this release and is ready, that nothing is marked, and that nobody has the lock."""
    expected = {f"{host}:{number}": release for host in WEB for number in (1, 2)}
    stack.wait_until(lambda: serving() == expected, timeout=30, what=f"{expected}, not {serving()}")
    for host, unit in ((WEB[0], "vuls-scheduler"), (WEB[1], "vuls-scheduler"), (WORKER, "vuls-worker@default")):
        pid = stack.must(stack.on(host, "systemctl", "show", "--value", "-p", "MainPID", unit)).strip()
        program = stack.must(stack.on(host, "cat", f"/proc/{pid}/cmdline"))
        assert f"/releases/{release}/" in program, f"{unit} on {host} runs {program!r}"
    assert " down" not in stack.must(stack.on(BALANCER, "grep", "-E", r"^\s+server ", "/etc/nginx/nginx.conf"))
    assert stack.on(WEB[0], "test", "-e", "/var/lib/vuls-rollout/lock").returncode != 0


def traffic(report: Path, *, clients: int = running.CLIENTS) -> AbstractContextManager[dict[str, Any]]:
    """Return the traffic that goes on inside; behind the block the yielded dictionary is its report."""
    return running.traffic(report, clients=clients, prefix=PREFIX, state=STATE)
