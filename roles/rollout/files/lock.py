"""Take, keep or give back a lock on this host.

Usage: python3 - take FILE JSON | replace FILE JSON | release FILE PID HOST. `take` makes FILE with JSON, unless it is
there. Prints `{"taken": true}`, or `{"taken": false, "holder": …}` with what the file says.
"""

import json
import os
import sys
from pathlib import Path


def read(file: Path) -> dict[str, object]:
    """Return what the lock says; nothing where there is none that can be read."""
    try:
        holder: dict[str, object] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return holder


def take(file: Path, text: str) -> dict[str, object]:
    """Make the lock. A hard link appears whole or not at all: nobody reads half of one."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    try:
        os.link(part, file)
    except FileExistsError:
        return {"taken": False, "holder": read(file)}
    finally:
        part.unlink()
    return {"taken": True}


def replace(file: Path, text: str) -> dict[str, object]:
    """Say something else in the lock."""
    part = file.with_name(f".{file.name}.new")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
    return {"taken": True}


def release(file: Path, pid: str, host: str) -> dict[str, object]:
    """Remove the lock if it is the caller's."""
    holder = read(file)
    mine = str(holder.get("pid")) == pid and holder.get("host") == host
    if mine:
        file.unlink(missing_ok=True)
    return {"released": mine}


def main() -> None:
    """Do it."""
    verb, file, *rest = sys.argv[1:]
    Path(file).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    answer = {"take": take, "replace": replace, "release": release}[verb](Path(file), *rest)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
