"""Which process has a run, and whether it still lives."""

import os
import socket
import uuid
from pathlib import Path

from app.domain.owner import Owner


def own_name() -> str:
    """Return what this process calls itself as the owner of an attempt; another name each time."""
    return f"{socket.gethostname()}:{os.getpid()}:{_start_of(os.getpid())}:{uuid.uuid4().hex[:8]}"


def is_gone(name: str) -> bool:
    """Tell whether the owner was a process of this host that is there no longer, or nobody at all.

    False for owners elsewhere, and in doubt: a process that is hidden from this one, or whose start is not on record.
    """
    owner = Owner.parse(name)
    if owner.host != socket.gethostname():
        return False
    if owner.pid is None:
        return True
    try:
        os.kill(owner.pid, 0)
        start = _start_of(owner.pid)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return start is None or owner.start not in (None, start)


def _start_of(pid: int) -> int | None:
    """Return when a process was started, in ticks since boot; None when it has ended and its parent has not asked yet.

    proc_pid_stat(5): field 3 is the state and field 22 the start; the name in field 2 may hold anything.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])
