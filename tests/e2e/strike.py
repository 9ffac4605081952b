"""Strikes at a scan while it is in a phase, and says what became of it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from . import stack

PHASES = ("preparing", "connecting", "collecting_packages", "loading")  # one of each of the executor's stages
_SCRIPT = Path(__file__).parent / "on_host/strike.py"


class Striker:
    """The scan host's eyes: when the blow fell, and what was seen of the job's containers up to its end."""

    def __init__(self, lines: IO[str]) -> None:
        self._lines = lines
        assert self._read() == {"ready": True}

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        assert line, "the scan host says nothing more: its own words are above"
        said: dict[str, Any] = json.loads(line)
        return said

    def phase(self) -> str | None:
        """Wait for the blow and return the phase in which it fell; None where the scan was over before."""
        found: str | None = self._read()["phase"]
        return found

    def containers_seen(self) -> tuple[int, int]:
        """Wait for the end of the job: how many containers scanned, and how many ran at the same time at most."""
        seen = self._read()
        return seen["scans"], seen["most"]


@contextmanager
def striking(phase: str, command: str = "true", *, seconds: float = 120) -> Iterator[Striker]:
    """Run a shell command on the scan host as soon as the next scan is in `phase`. Entered when it is on the watch."""
    call = ("docker", "exec", "-i", "vuls-worker", "python3", "-u", "-", phase, command, str(seconds))
    with (
        _SCRIPT.open() as script,
        subprocess.Popen(call, stdin=script, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            yield Striker(process.stdout)
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
