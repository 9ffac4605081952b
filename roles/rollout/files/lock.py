"""Take, keep or give back a lock on this host.

Usage: python3 - take FILE JSON [SEEN] | replace FILE JSON | release FILE PID HOST. `take` makes FILE with JSON, unless
it is there; with SEEN (what an earlier answer said of the holder) it takes FILE from that one, and from nobody else.
Prints `{"taken": true}`, or `{"taken": false, "holder": …}` with what the file says.
"""

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Look and write as one step: whoever else wants to do that waits."""
    with file.with_name(f".{file.name}.turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def read(file: Path) -> dict[str, object]:
    """Return what the lock says; nothing where there is none that can be read."""
    try:
        holder: dict[str, object] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return holder


def write(file: Path, text: str) -> None:
    """Write the lock, whole or not at all."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


def take(file: Path, text: str, seen: str = "null") -> dict[str, object]:
    """Make the lock, or take it from the holder that was seen."""
    with alone(file):
        holder = read(file)
        if file.exists() and holder != json.loads(seen):
            return {"taken": False, "holder": holder}
        write(file, text)
        return {"taken": True}


def replace(file: Path, text: str) -> dict[str, object]:
    """Say something else in the lock."""
    with alone(file):
        write(file, text)
        return {"taken": True}


def release(file: Path, pid: str, host: str) -> dict[str, object]:
    """Remove the lock if it is the caller's."""
    with alone(file):
        holder = read(file)
        mine = str(holder.get("pid")) == pid and holder.get("host") == host
        if mine:
            file.unlink(missing_ok=True)
        return {"released": mine}


def main() -> None:
    """Do it."""
    verb, file, *rest = sys.argv[1:]
    Path(file).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    verbs: dict[str, Callable[..., dict[str, object]]] = {"take": take, "replace": replace, "release": release}
    sys.stdout.write(json.dumps(verbs[verb](Path(file), *rest)) + "\n")


if __name__ == "__main__":
    main()
