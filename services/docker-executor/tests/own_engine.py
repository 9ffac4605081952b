"""A Docker engine of the test's own, which it may kill. Needs root."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

from tests.harness import wait_until

START_SECONDS = 60
BRIDGE = "vuls-test0"  # without one to use, an engine takes away the bridge of the machine's engine
ADDRESS = "198.51.100.1/24"  # of documentation's own network, so nobody else's
CONTAINERD = """
version = 2
root = "{path}/containerd/root"
state = "{path}/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{path}/containerd.sock"
"""


class OwnEngine:
    """An engine beside the machine's, with its own containerd, socket, images, containers and bridge."""

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}/engine.sock"
        self._path = path
        (path / "containerd.toml").write_text(CONTAINERD.format(path=path))
        self._containerd = self._run("containerd", f"--config={path}/containerd.toml")
        self._engine: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the engine, or start it again, and wait until it answers."""
        (self._path / "engine.pid").unlink(missing_ok=True)
        self._engine = self._run(
            *("dockerd", f"--host={self.url}", f"--containerd={self._path}/containerd.sock"),
            *(f"--data-root={self._path}/data", f"--exec-root={self._path}/exec", f"--pidfile={self._path}/engine.pid"),
            *(f"--bridge={BRIDGE}", "--iptables=false", "--ip-forward=false"),
        )
        wait_until(self._answers, START_SECONDS)

    def kill(self) -> None:
        """Kill the engine; its containers run on until it starts again."""
        assert self._engine is not None
        self._engine.kill()
        self._engine.wait()

    def stop(self) -> None:
        """End the engine and its containers."""
        for process in (self._engine, self._containerd):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):  # what an engine that was killed leaves
            if (place := line.split()[1]).startswith(f"{self._path}/"):
                subprocess.run(["umount", "--lazy", place], check=True)

    def load(self, image: str) -> None:
        """Take over an image of the machine's engine."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            subprocess.run(["docker", "--host", self.url, "load", "--quiet"], stdin=saved.stdout, check=True)

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE": "1"}
        with (self._path / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)

    def _answers(self) -> bool:
        if self._engine is None or self._engine.poll() is not None:
            raise AssertionError((self._path / "log").read_text()[-5000:])
        asked = subprocess.run(["docker", "--host", self.url, "version"], capture_output=True, check=False)
        return asked.returncode == 0


@contextmanager
def own_engine(image: str) -> Iterator[tuple[OwnEngine, docker.DockerClient]]:
    """Run an engine that has an image."""
    with tempfile.TemporaryDirectory(prefix="vuls-engine-") as directory, _bridge():
        engine = OwnEngine(Path(directory))
        try:
            engine.start()
            engine.load(image)
            client = docker.DockerClient(base_url=engine.url, timeout=30)
            yield engine, client
            client.close()
        finally:
            engine.stop()


@contextmanager
def _bridge() -> Iterator[None]:
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)  # of a run that was cut off
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", ADDRESS, "dev", BRIDGE], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "delete", BRIDGE], check=True)
