"""Runs on a scan host: waits until the next job is in a phase, strikes there, and watches the job to its end.

    python3 - PHASE COMMAND SECONDS < strike.py

Prints a JSON object when it is ready for the job, one when it has struck (`state` and `phase` in which it did; `phase`
is null where the job ended before), and one at the job's end: `scans`, how many containers scanned, and `most`, how
many of them and of reports ran at the same time. COMMAND is the shell's. Sent to the host as text, so it needs the
standard library only.
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
SHOWN = '{{.ID}} {{.Label "vuls-live.step"}}'


def job(after: int) -> tuple[int, str, str] | None:
    """Return number, state and phase of the latest job behind `after`; None while there is none, or its store opens."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(STORE, uri=True)) as store:
        query = "SELECT sequence, state, phase FROM jobs WHERE sequence > ? ORDER BY sequence DESC LIMIT 1"
        found: tuple[int, str, str] | None = store.execute(query, (after,)).fetchone()
        return found
    return None


class Watch(threading.Thread):
    """Notes which containers of scans are there, until it is told to stop. An engine that is away shows none."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.scans: set[str] = set()
        self.most = 0
        self.over = threading.Event()

    def run(self) -> None:
        """Look several times a second."""
        shown = ["docker", "ps", "--no-trunc", "--filter", "label=vuls-live.job", "--format", SHOWN]
        while not self.over.wait(0.1):
            lines = subprocess.run(shown, capture_output=True, text=True, check=False).stdout.splitlines()
            running = [line.split() for line in lines]
            self.most = max(self.most, len(running))
            self.scans |= {identity for identity, step in running if step == "scan"}


def say(**words: object) -> None:
    """Print one JSON object."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def main(phase: str, command: str, seconds: float) -> None:
    """Strike, watch, and say what was seen."""
    watch, deadline, last = Watch(), time.monotonic() + seconds, job(0)
    after = last[0] if last else 0
    watch.start()
    say(ready=True)
    state = now = None
    while time.monotonic() < deadline and now != phase and state not in ENDS:
        time.sleep(0.002)
        _, state, now = job(after) or (0, None, None)
    hit = now == phase and state not in ENDS
    if hit:
        subprocess.run(["sh", "-c", command], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    say(state=state, phase=now if hit else None)
    while time.monotonic() < deadline and state not in ENDS:
        time.sleep(0.1)
        _, state, _ = job(after) or (0, state, None)
    watch.over.set()
    watch.join()
    say(scans=len(watch.scans), most=watch.most)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
