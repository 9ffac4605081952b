"""Take, keep or give back a lock on this host.

Usage: python3 - take FILE JSON | replace FILE JSON | release FILE PID HOST. `take` makes FILE with JSON, unless it is there.
Prints `{"taken": true}`, or `{"taken": false, "holder": …}` with what the file says.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Do it."""
    verb, file = sys.argv[1], Path(sys.argv[2])
    if verb == "release":
        try:
            holder = json.loads(file.read_text())
        except (OSError, ValueError):
            holder = {}
        mine = str(holder.get("pid")) == sys.argv[3] and holder.get("host") == sys.argv[4]
        if mine:
            file.unlink(missing_ok=True)
        print(json.dumps({"released": mine}))
        return
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if verb == "replace":
        part = file.with_name(f".{file.name}.new")
        part.write_text(sys.argv[3])
        part.replace(file)
        print(json.dumps({"taken": True}))
        return
    try:
        # A hard link appears whole or not at all: nobody reads half a lock.
        part = file.with_name(f".{file.name}.{os.getpid()}")
        part.write_text(sys.argv[3])
        os.link(part, file)
        print(json.dumps({"taken": True}))
    except FileExistsError:
        try:
            holder = json.loads(file.read_text())
        except (OSError, ValueError):
            holder = {}
        print(json.dumps({"taken": False, "holder": holder}))
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
