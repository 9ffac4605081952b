"""A web host is lost while clients follow the feed: they go elsewhere, and nobody lacks or repeats anything."""

import json
import time
from pathlib import Path

from tests.e2e import stack
from tests.traffic import running

LOST = "vuls-web-2"
GONE = 30  # seconds that the host is away


def serves() -> bool:
    """Whether both instances of the host are ready."""
    done = stack.on(LOST, "vulsctl", "status", "--json")
    return done.returncode == 0 and [row["ready"] for row in json.loads(done.stdout)["items"]] == [True, True]


def test_nobody_lacks_anything_when_a_web_host_dies_and_comes_back(tmp_path: Path) -> None:
    with running.traffic(tmp_path / "report.json") as report:
        stack.must(stack.run("docker", "kill", LOST))
        time.sleep(GONE)
        stack.must(stack.run("docker", "start", LOST))
        began = time.monotonic()
        stack.wait_until(serves, timeout=120, what=f"{LOST} serves again")
        stack.note("loss of a web host", "seconds from its start until it serves", time.monotonic() - began)
    assert report["reconnects"] >= running.CLIENTS / 4, "clients were there"
