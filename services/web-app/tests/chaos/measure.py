"""Figures of a running instance."""

from pathlib import Path

from tests.edge.process import InstanceProcess


def worker_pid(instance: InstanceProcess) -> int:
    """Return the serving process, gunicorn's only child."""
    pid = instance.process.pid
    (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return int(worker)


def resident(instance: InstanceProcess) -> float:
    """Return the MiB that the serving process has in memory."""
    status = Path(f"/proc/{worker_pid(instance)}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def complaints(instance: InstanceProcess) -> list[str]:
    """Return the lines of an instance's log that tell of a fault of its own."""
    words = ("Traceback", "ERROR", "CRITICAL", "Exception")
    return [line for line in instance.log.splitlines() if any(word in line for word in words)]


def open_files(instance: InstanceProcess) -> int:
    """Return the number of files and sockets that the serving process has open."""
    return len(list(Path(f"/proc/{worker_pid(instance)}/fd").iterdir()))
