"""A web host is lost while clients follow the feed: they go elsewhere, and nobody lacks or repeats anything."""

import sys
import time
from pathlib import Path

from tests.e2e import stack
from tests.traffic import running

LOST = "vuls-web-2"
GONE = 30  # seconds that the host is away


def test_nobody_lacks_anything_when_a_web_host_dies_and_comes_back(tmp_path: Path) -> None:
    with running.traffic(tmp_path / "report.json") as report:
        stack.must(stack.run("docker", "kill", LOST))
        time.sleep(GONE)
        stack.must(stack.run("docker", "start", LOST))
        began = time.monotonic()
        for number in (1, 2):
            stack.wait_until(
                lambda number=number: (
                    "ready" in stack.on(LOST, "vulsctl", "status").stdout
                    and stack.on(LOST, "systemctl", "is-active", f"vuls-web@{number}").returncode == 0
                ),
                timeout=120,
                what=f"{LOST} serves again",
            )
        sys.stdout.write(f"{LOST} serves again {time.monotonic() - began:.0f} s after its start\n")
    assert report["reconnects"] >= running.CLIENTS / 4, "clients were there"
