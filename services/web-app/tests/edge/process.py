"""An instance as deployed: gunicorn with its worker class on Unix sockets, in a process of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.services import Database

ORIGIN = "https://vuls.example"
START_TIMEOUT = 90  # seconds


class InstanceProcess:
    """A running instance. `log` is everything it has written."""

    def __init__(self, database: Database, **settings: Any) -> None:
        # Paths of Unix sockets are short (108 bytes): pytest's own folders are too deep.
        self.folder = Path(tempfile.mkdtemp(prefix="vuls-edge-"))
        self.http_socket = self.folder / "http.sock"
        self.admin_socket = self.folder / "admin.sock"
        self._log_path = self.folder / "log"
        values: dict[str, Any] = {
            "instance": "test:1",
            "release_id": "release-7",
            "http_socket": str(self.http_socket),
            "admin_socket": str(self.admin_socket),
            "allowed_origins": (ORIGIN,),
            "accept_manual_notifications": True,
            "heartbeat_interval": 1.0,
            "digest_rate": 1e9,
            "permission_recheck_interval": 0.5,
        }
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("VULS_") or name == "VULS_TEST_SERVICES_CONTAINER"
        }
        environment |= database.environment("web", **(values | settings))
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--config", "python:app.server.gunicorn_conf", "app.main:app"],
                env=environment,
                cwd=Path(__file__).parents[2],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """Everything the process has written so far."""
        return self._log_path.read_text()

    def client(self, **headers: str) -> httpx.Client:
        """Return an HTTP client of the public socket."""
        transport = httpx.HTTPTransport(uds=str(self.http_socket))
        return httpx.Client(transport=transport, base_url="http://vuls.example", headers=headers, timeout=20)

    def admin(self) -> httpx.Client:
        """Return an HTTP client of the admin socket."""
        transport = httpx.HTTPTransport(uds=str(self.admin_socket))
        return httpx.Client(transport=transport, base_url="http://admin", timeout=30)

    def wait_ready(self) -> None:
        """Wait until the instance takes traffic."""
        with self.client() as client:
            eventually(lambda: _ok(client), START_TIMEOUT, lambda: self.log)

    def stop(self) -> int:
        """Ask the process to end, and return its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def remove(self) -> None:
        """End the process if it still runs, and forget its folder."""
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)  # it may be gone already


def open_sockets(instance: InstanceProcess) -> int:
    """Count the accepted connections on the public socket, as the kernel sees them."""
    table = Path("/proc/net/unix").read_text(encoding="ascii").splitlines()
    return sum(line.endswith(str(instance.http_socket)) and " 00010000 " not in line for line in table)


def _ok(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def eventually(condition: Callable[[], object], timeout: float = 30, explain: Callable[[], str] = str) -> None:
    """Wait until `condition` holds; fail after `timeout` seconds with what `explain` says."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s\n{explain()}"
        time.sleep(0.02)
