"""Traffic that goes on while a story does something to the stack; its verdict is the story's."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e import stack

CLIENTS = int(os.environ.get("VULS_TEST_CLIENTS", "200"))
RATE = float(os.environ.get("VULS_TEST_RATE", "20"))  # events a second
PAGES = float(os.environ.get("VULS_TEST_PAGES", "4"))  # requests a second
SCAN_EVERY = float(os.environ.get("VULS_TEST_SCAN_EVERY", "30"))  # seconds between two of them
# A second, at most: a drain sends 50 a second away, and where the clients' process has to wait, two seconds of that
# look like one.
RECONNECTS = 100


@contextmanager
def traffic(
    report: Path,
    *,
    clients: int = CLIENTS,
    scans: bool = True,
    may: Sequence[str] = (),
    prefix: str = "vuls",
    state: Path = stack.LOCAL,
) -> Iterator[dict[str, Any]]:
    """Let traffic go on inside; behind the block the yielded dictionary is its report, and the verdict is good.

    `may` has what this story is allowed: "resync" and "lose-writes", as the program's options of these names say.
    """
    ready = report.with_suffix(".ready")
    url = f"https://localhost:{os.environ.get('VULS_HTTPS_PORT', '8443')}"
    command = [
        sys.executable, "-m", "tests.traffic", f"--url={url}", f"--cafile={state / 'ca.crt'}",
        f"--password-file={state / 'admin-password'}", f"--clients={clients}", f"--rate={RATE}", f"--page-rate={PAGES}",
        "--seconds=0", f"--report={report}", f"--ready-file={ready}", f"--max-reconnects={RECONNECTS}",
        f"--source=docker exec -i {prefix}-worker uv run python",
        f"--psql=docker exec -u postgres {prefix}-db psql -d vuls", *(f"--may-{name}" for name in may),
        *(["--scan-tasks=1,2", f"--scan-every={SCAN_EVERY}"] if scans else []),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=stack.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    result: dict[str, Any] = {}
    try:
        stack.wait_until(
            lambda: ready.exists() or process.poll() is not None, timeout=180, what="clients that are connected"
        )
        if process.poll() is None:
            time.sleep(3)  # of traffic before anything is done to it
            yield result
            time.sleep(3)  # and after
            process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=300)
        assert report.exists(), complaints[-3000:]
    finally:
        if process.poll() is None:
            process.kill()
    result.update(json.loads(report.read_text()))
    figures = {name: value for name, value in result.items() if name != "problems"}
    sys.stdout.write(f"\n{json.dumps(figures)}\n")
    assert result["verdict"] == "good", "\n".join(result["problems"])
