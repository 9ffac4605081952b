"""A real executor: its own process, its own socket, its own state directory."""

import asyncio
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[3]
RECORDINGS = ROOT / "tests/data/vuls/recordings"
DEMO_DATA = ROOT / "tests/data/vuls/demo-db"
API_KEY = "an-api-key-of-tests-with-enough-characters"
CONTAINER_UID = os.geteuid() or 10001
ENDS = {"done", "failed", "cancelled", "lost"}


class Deployment:
    """What the deployment would put on a scan host, in a directory of its own, and the executor on it."""

    def __init__(self, **settings: object) -> None:
        # Not pytest's tmp_path: a Unix socket's path is limited to 107 bytes.
        self.path = Path(tempfile.mkdtemp(prefix="vuls-executor-"))
        self.socket = self.path / "executor.sock"
        self.state_dir = self.path / "state"
        self.log = self.path / "log"
        self.settings: dict[str, object] = {
            "socket": self.socket,
            "state_dir": self.state_dir,
            "secrets_dir": self.path / "secrets",
            "targets": self.path / "targets.json",
            "ssh_key": self.path / "id_ed25519",
            "known_hosts": self.path / "known_hosts",
            "database": self.path / "db" / "vuls.db",
            "image": "vuls-live/vuls:local",
            "container_uid": CONTAINER_UID,
            "stack": "test",
            **settings,
        }
        (self.path / "secrets").mkdir(mode=0o700)
        (self.path / "secrets" / "api_key").write_text(API_KEY + "\n")
        (self.path / "id_ed25519").write_text("no key\n")
        self.known_hosts("")
        self.targets({"web-1": {"address": "192.0.2.1", "port": 22, "user": "vuls"}})
        self.process: subprocess.Popen[bytes] | None = None

    def targets(self, targets: dict[str, dict[str, object]]) -> None:
        """Write the targets file."""
        (self.path / "targets.json").write_text(json.dumps({"targets": targets}))

    def known_hosts(self, text: str) -> None:
        """Write known_hosts."""
        (self.path / "known_hosts").write_text(text)

    def environment(self) -> dict[str, str]:
        """Return the executor's environment."""
        own = {f"VULS_EXECUTOR_{name.upper()}": str(value) for name, value in self.settings.items()}
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1]), **own}

    def start(self) -> "Deployment":
        """Start the executor and wait until it answers."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "executor"]
            self.process = subprocess.Popen(command, env=self.environment(), stderr=log, stdin=subprocess.DEVNULL)
        wait_until(lambda: self.process is None or self.process.poll() is not None or self._answers(), 60)
        assert self.process.poll() is None, self.log.read_text()
        return self

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        assert self.process is not None
        self.process.send_signal(sign)
        status = self.process.wait(20)
        self.process = None
        return status

    def close(self) -> None:
        """End the executor and remove everything of it."""
        if self.process is not None:
            self.stop(signal.SIGKILL)
        shutil.rmtree(self.path)

    def client(self, key: str | None = API_KEY) -> httpx.AsyncClient:
        """Return a client for the executor's socket."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket), verify=False)
        headers = {"X-API-Key": key} if key is not None else {}
        return httpx.AsyncClient(transport=transport, base_url="http://executor", headers=headers, timeout=20)

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        transport = httpx.HTTPTransport(uds=str(self.socket), verify=False)
        with httpx.Client(transport=transport, base_url="http://executor", trust_env=False) as client:
            try:
                return client.get("/").status_code == 401
            except httpx.TransportError:
                return False


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition; fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def fill(directory: Path) -> Path:
    """Take all the room there is in a directory's file system; return the file to remove for it."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC, error  # noqa: PT017 (after any number of writes)
    return ballast


async def submit(client: httpx.AsyncClient, job_id: str, server: str = "web-1") -> dict[str, Any]:
    """Send a job that must be accepted."""
    answer = await client.post("/scan", json={"job_id": job_id, "server": server, "scan_type": "fast"})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def read(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """Read a job that must exist."""
    answer = await client.get(f"/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def wait_for(client: httpx.AsyncClient, job_id: str, *states: str, seconds: float = 180) -> dict[str, Any]:
    """Wait until the job is in one of the states; fail at once when it ends in another."""
    deadline = time.monotonic() + seconds
    while True:
        job = await read(client, job_id)
        if job["state"] in states:
            return job
        assert job["state"] not in ENDS, job
        assert time.monotonic() < deadline, job
        await asyncio.sleep(0.2)
