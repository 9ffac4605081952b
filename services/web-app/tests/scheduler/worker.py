"""A Celery worker as a process of its own, to be stopped and killed."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
WORKER = [sys.executable, "-m", "celery", "-A", "app.tasks.celery_app", "worker", "-Q", "scan.default", "-c", "1"]
WORKER += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
BOOT = 90  # seconds that a worker may take to start on a busy machine


class Worker:
    """A Celery worker of zone default, with its log."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                WORKER, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT, process_group=0
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        wait_until(lambda: " ready." in self.log, BOOT, f"the worker's start: {self.log[-2000:]}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it with its children, without a chance to say anything."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def kill_main(self) -> None:
        """End the main process alone, as the kernel does where memory runs out."""
        self.process.kill()
        self.process.wait()

    def kill_child(self) -> None:
        """End the pool's process, which does the work."""
        (child,) = self._children()
        os.kill(child, signal.SIGKILL)

    def _children(self) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    found.append(int(entry.name))
        return found
