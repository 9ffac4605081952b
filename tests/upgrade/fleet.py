"""The hosts of the story, what runs on them, and the traffic that goes on meanwhile."""

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.e2e import stack
from tests.plays import INVENTORY
from tests.traffic import running

# Another stack than that of the local inventory: its hosts' first word.
PREFIX = os.environ.get("VULS_TEST_PREFIX", "vuls")
STATE = Path(os.environ.get("VULS_STATE_DIR", stack.LOCAL))
BALANCER, DATABASE, WORKER = (f"{PREFIX}-{name}" for name in ("lb", "db", "worker"))
WEB = (f"{PREFIX}-web-1", f"{PREFIX}-web-2")
# What a reader puts in the place of the pages' names.
REPLACE = {"inventories/local": INVENTORY} | {
    f"vuls-{name}": f"{PREFIX}-{name}" for name in ("web-1", "web-2", "db", "worker")
}
PREVIOUS = (stack.ROOT / "molecule/upgrade/previous-release").read_text().strip()


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
