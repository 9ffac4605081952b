"""The host that has everything, and the crowd in front of it."""

import asyncio
import json
import os
import re
import ssl
from pathlib import Path
from typing import NamedTuple

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from tests.e2e.stack import must, on, run

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".local/single"
NAME, TARGET = "vuls-single", "vuls-single-target"
ORIGIN = f"https://localhost:{os.environ.get('VULS_HTTPS_PORT', '8443')}"
LIMIT_MIB = 2048
AT_ONCE = 40  # handshakes that are begun together
_PSS = """
import json, pathlib, re
parts = {}
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        unit = re.findall(r"/([^/]+\\.(?:service|scope))", (process / "cgroup").read_text())
        pss = re.search(r"^Pss:\\s+(\\d+)", (process / "smaps_rollup").read_text(), re.M)
    except OSError:
        continue
    if pss:
        name = unit[-1] if unit else "other"
        parts[name] = parts.get(name, 0) + int(pss.group(1))
print(json.dumps(parts))
"""


def trust() -> ssl.SSLContext:
    """Return a context that trusts the deployment's CA and nothing else."""
    return ssl.create_default_context(cafile=str(STATE / "ca.crt"))


def signed_in() -> httpx.Client:
    """Return a client with the first administrator's session."""
    session = httpx.Client(base_url=ORIGIN, verify=trust(), headers={"Origin": ORIGIN}, timeout=60)
    password = (STATE / "admin-password").read_text().strip()
    answer = session.post("/api/auth/login", json={"username": "admin", "password": password})
    assert answer.status_code == 200, answer.text
    return session


# The control group that limits the host is the engine's, so it stands where the engine's machine keeps it; by version.
_GROUPS = (
    ("/sys/fs/cgroup/memory/docker/{}", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
    ("/sys/fs/cgroup/system.slice/docker-{}.scope", "memory.max", "memory.peak", "memory.events"),
)


class Group(NamedTuple):
    """What the host's control group says: bytes, and how many processes were ended for lack of memory."""

    limit: int
    peak: int
    killed: int


def group() -> Group:
    """Return what the control group says now."""
    identifier = must(run("docker", "inspect", "--format", "{{.Id}}", NAME)).strip()
    for form, limit, peak, events in _GROUPS:
        place = Path(form.format(identifier))
        if place.exists():
            found = re.search(r"^oom_kill (\d+)$", (place / events).read_text(), re.MULTILINE)
            assert found is not None, (place / events).read_text()
            return Group(int((place / limit).read_text()), int((place / peak).read_text()), int(found.group(1)))
    raise AssertionError("no control group of the host")


def memory_by_unit() -> dict[str, int]:
    """Return the memory of each unit's processes (PSS, in MiB), instances of one service together."""
    parts: dict[str, int] = json.loads(must(on(NAME, "python3", "-c", _PSS)))
    found: dict[str, int] = {}
    for unit, kib in parts.items():
        name = re.sub(r"@?[^@]*\.(service|scope)$", "", unit) if "@" in unit else unit.rpartition(".")[0] or unit
        found[name] = found.get(name, 0) + kib
    return {name: kib // 1024 for name, kib in sorted(found.items(), key=lambda part: -part[1]) if kib >= 1024}


class Crowd:
    """Many sockets of one session; each notes the events that it was told."""

    def __init__(self, session: httpx.Client) -> None:
        # Without the cookie of the route: the balancer spreads them over the instances.
        self._cookie = "; ".join(f"{n}={v}" for n, v in session.cookies.items() if "route" not in n)
        self.told: list[list[tuple[int, str]]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._sockets: list[ClientConnection] = []
        self.problems: list[str] = []

    async def join(self, count: int) -> None:
        """Open that many, some at a time; each is in when it has got its first message."""
        for start in range(0, count, AT_ONCE):
            await asyncio.gather(*(self._open() for _ in range(min(AT_ONCE, count - start))))

    async def _open(self) -> None:
        url = ORIGIN.replace("https", "wss") + "/api/ws"
        socket = await connect(
            url,
            ssl=trust_once(),
            origin=Origin(ORIGIN),
            additional_headers={"Cookie": self._cookie},
            compression=None,
            open_timeout=120,
            ping_interval=None,
        )
        hello = json.loads(await asyncio.wait_for(socket.recv(), 60))
        assert hello["type"] == "hello", hello
        mine: list[tuple[int, str]] = []
        self.told.append(mine)
        self._sockets.append(socket)
        self._tasks.append(asyncio.create_task(self._listen(socket, mine)))

    async def _listen(self, socket: ClientConnection, mine: list[tuple[int, str]]) -> None:
        try:
            async for text in socket:
                message = json.loads(text)
                if message["type"] == "task_update":
                    mine.append((message["data"]["task_run_id"], message["data"]["status"]))
        except Exception as error:  # noqa: BLE001  (the test says what became of it)
            self.problems.append(repr(error))
        else:
            self.problems.append("closed")

    async def leave(self) -> None:
        """Close all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(socket.close() for socket in self._sockets), return_exceptions=True)


_trust: list[ssl.SSLContext] = []


def trust_once() -> ssl.SSLContext:
    """Return one context for all: reading the CA a thousand times is no part of the test."""
    if not _trust:
        _trust.append(trust())
    return _trust[0]
