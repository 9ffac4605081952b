"""Runs on a scan host: waits until the job of a run is in a phase, strikes there, and watches the job to its end.

    python3 - RUN PHASE COMMAND SECONDS < strike.py

Prints a JSON object when it has struck (`state` and `phase` in which it did; `phase` is null where the job ended
before), and another at the job's end: `scans`, how many containers scanned, and `most`, how many of the run's
containers ran at the same time. COMMAND is the shell's. Sent to the host as text, so it needs the standard library
only.
"""

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import time

STORE = "file:/var/lib/vuls-executor/jobs.sqlite3?mode=ro"
ENDS = {"done", "failed", "cancelled", "lost"}
SHOWN = '{{.ID}} {{.Label "vuls-live.job"}} {{.Label "vuls-live.step"}}'


def job(run: str) -> tuple[str, str] | None:
    """Return state and phase of the run's latest job; None while there is none, or its store is being opened."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(STORE, uri=True)) as store:
        query = "SELECT state, phase FROM jobs WHERE id LIKE ? ORDER BY sequence DESC LIMIT 1"
        found = store.execute(query, (f"run-{run}-%",)).fetchone()
        return None if found is None else (found[0], found[1])
    return None


class Watch(threading.Thread):
    """Notes which containers of the run are there, until it is told to stop. An engine that is away shows none."""

    def __init__(self, run: str) -> None:
        super().__init__(daemon=True)
        self.scans: set[str] = set()
        self.most = 0
        self.over = threading.Event()
        self._prefix = f"run-{run}-"

    def run(self) -> None:
        """Look several times a second."""
        shown = ["docker", "ps", "--no-trunc", "--filter", "label=vuls-live.job", "--format", SHOWN]
        while not self.over.wait(0.1):
            lines = subprocess.run(shown, capture_output=True, text=True, check=False).stdout.splitlines()
            mine = [words for words in map(str.split, lines) if words[1].startswith(self._prefix)]
            self.most = max(self.most, len(mine))
            self.scans |= {words[0] for words in mine if words[2] == "scan"}


def say(**words: object) -> None:
    """Print one JSON object."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def main(run: str, phase: str, command: str, seconds: float) -> None:
    """Strike, watch, and say what was seen."""
    watch, deadline, seen = Watch(run), time.monotonic() + seconds, None
    watch.start()
    while time.monotonic() < deadline:
        seen = job(run)
        if seen is not None and (seen[1] == phase or seen[0] in ENDS):
            break
        time.sleep(0.002)
    hit = seen is not None and seen[1] == phase and seen[0] not in ENDS
    if hit:
        subprocess.run(["sh", "-c", command], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    say(state=seen[0] if seen else None, phase=phase if hit else None)
    while time.monotonic() < deadline and (seen is None or seen[0] not in ENDS):
        time.sleep(0.1)
        seen = job(run)
    watch.over.set()
    watch.join()
    say(scans=len(watch.scans), most=watch.most)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
