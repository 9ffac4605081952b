"""The machine: which processor does what, and what a process has used of it."""

import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SERVER_CPU, CLIENT_CPU = 0, 1  # the server has one for itself; clients, driver, PostgreSQL and Redis share the other


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds of processor time so far."""

    server: float  # the server's threads
    client: float  # the client's
    client_cpu_busy: float  # all that its processor did
    server_cpu_busy: float
    at: float  # seconds since the machine started, to the hundredth: the clock of the two above


def describe() -> dict[str, str]:
    """Say on what the figures were measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    return {
        "CPUs": f"{os.cpu_count()} ({model})",
        "Kernel": ".".join(platform.release().split(".")[:2]),
        "Python": platform.python_version(),
    }


def read(server: int, client: int) -> Reading:
    """Return what two processes and their processors have used."""
    busy = _busy()
    return Reading(_process_seconds(server), _process_seconds(client), busy[CLIENT_CPU], busy[SERVER_CPU], _uptime())


def _process_seconds(pid: int) -> float:
    """Return the processor time of all threads of a process, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def _busy() -> dict[int, float]:
    """Return by processor the seconds that it worked, time stolen by the host left out."""
    found = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _idle, _iowait, interrupts, soft_interrupts = (int(tick) for tick in ticks[:7])
            total = user + nice + system + interrupts + soft_interrupts
            found[int(name.removeprefix("cpu"))] = total / os.sysconf("SC_CLK_TCK")
    return found


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


def resident_kib(pid: int) -> int:
    """Return the memory of a process, shared pages counted in part (PSS), in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def children(pid: int) -> list[int]:
    """Return the processes that `pid` has started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def pinned(cpu: int, *command: str | Path) -> list[str]:
    """Return `command` so that it runs on one processor only."""
    return ["taskset", "--cpu-list", str(cpu), *map(str, command)]


def pin(pids: Iterable[int], cpu: int) -> None:
    """Move running processes, with all their threads, to a processor; what they start later stays there."""
    for pid in pids:
        subprocess.run(["taskset", "--all-tasks", "--cpu-list", "--pid", str(cpu), str(pid)], check=False, stdout=-3)


def pin_container(name: str, cpu: int) -> None:
    """Move a container's processes to a processor."""
    listed = subprocess.run(["docker", "top", name, "-eo", "pid"], check=True, capture_output=True, text=True).stdout
    pin(map(int, listed.split()[1:]), cpu)


def container_address(name: str) -> str:
    """Return the address at which a container is reached without docker's proxy, which would cost processor time."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    command = ["docker", "inspect", "--format", template, name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
