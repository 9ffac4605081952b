"""Strikes at a scan while it is in a phase, and says what became of it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import stack

PHASES = ("preparing", "connecting", "collecting_packages", "loading")  # one of each of the executor's stages
_SCRIPT = Path(__file__).parent / "on_host/strike.py"


@dataclass
class Struck:
    """What the scan host saw: the `phase` it struck in (None: the scan was over before), and the job's containers."""

    state: str | None
    phase: str | None
    scans: int = 0
    most: int = 0
    _lines: Iterator[str] = field(default_factory=lambda: iter(()), repr=False)

    def see_the_end(self) -> None:
        """Wait for the end of the job, and take over what was seen."""
        seen: dict[str, Any] = json.loads(next(self._lines))
        self.scans, self.most = seen["scans"], seen["most"]


@contextmanager
def striking(run_id: int, phase: str, command: str = "true", *, seconds: float = 90) -> Iterator[Struck]:
    """Run a shell command on the scan host as soon as the run's job is in `phase`; entered when that has happened."""
    call = ("docker", "exec", "-i", "vuls-worker", "python3", "-u", "-", str(run_id), phase, command, str(seconds))
    with (
        _SCRIPT.open() as script,
        subprocess.Popen(call, stdin=script, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            first = json.loads(process.stdout.readline())
            yield Struck(first["state"], first["phase"], _lines=process.stdout)
        finally:
            process.kill()


def containers() -> str:
    """Return the containers of scans at the engine that the scan host uses."""
    return stack.must(
        stack.on("vuls-worker", "docker", "ps", "--all", "--quiet", "--filter", "label=vuls-live.job")
    ).strip()


def ends_of(run_id: int) -> list[str]:
    """Return the ends that the event log tells of a run, in its order."""
    return stack.sql(
        "SELECT data->>'status' FROM event WHERE type = 'task_update' AND data->>'status' NOT IN ('queued', 'started')"
        f" AND (data->>'task_run_id')::bigint = {run_id} ORDER BY seq"
    ).splitlines()
