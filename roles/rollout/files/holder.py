"""Who runs this playbook, so that a lock can name its holder, and whether an earlier holder still runs.

Usage: holder.py [PID STARTED]. Prints one JSON object: `user`, `host`, `pid` and `started` of the outermost
ansible-playbook that this process belongs to; and `alive`, whether process PID is the one that began at STARTED.
"""

import getpass
import json
import os
import platform
import subprocess
import sys
import time

LSTART = "%a %b %d %H:%M:%S %Y"  # how ps writes when a process began


def look(pid: int) -> tuple[int, str, str] | None:
    """Return a process's parent, the time when it began, and its command line; None when there is no such process."""
    line = ["ps", "-o", "ppid=", "-o", "lstart=", "-o", "args=", "-p", str(pid)]
    done = subprocess.run(  # noqa: S603
        line, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    words = done.stdout.split()
    if done.returncode or len(words) < 7:
        return None
    return int(words[0]), " ".join(words[1:6]), " ".join(words[6:])


def same_moment(one: str, other: str) -> bool:
    """Say whether ps means one moment by both: it works it out from the clock, which may be set in between."""
    try:
        apart = time.mktime(time.strptime(one, LSTART)) - time.mktime(time.strptime(other, LSTART))
    except ValueError:
        return one == other
    return abs(apart) <= 2


def outermost() -> tuple[int, str]:
    """Return number and start of the outermost ancestor that is an ansible-playbook, or of the parent."""
    pid, found = os.getppid(), None
    first = look(pid)
    while pid > 1 and (seen := look(pid)):
        if "ansible-playbook" in seen[2]:
            found = (pid, seen[1])
        pid = seen[0]
    return found or (os.getppid(), first[1] if first else "")


def main() -> None:
    """Answer."""
    pid, started = outermost()
    answer = {"user": getpass.getuser(), "host": platform.node(), "pid": pid, "started": started, "alive": False}
    if len(sys.argv) == 3:
        seen = look(int(sys.argv[1]))
        answer["alive"] = bool(seen and same_moment(seen[1], sys.argv[2]) and "ansible-playbook" in seen[2])
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
