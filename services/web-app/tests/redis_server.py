"""A Redis of a test's own, to be killed: a local process, or one beside the test services in their container."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.waiting import wait_until


class OwnRedis:
    """Comes back empty when it is started again on the same port."""

    def __init__(self) -> None:
        self._container = None if shutil.which("redis-server") else os.environ.get("VULS_TEST_SERVICES_CONTAINER")
        if self._container is None and not shutil.which("redis-server"):
            pytest.fail("no redis-server here and no VULS_TEST_SERVICES_CONTAINER: scripts/test_services.sh start")
        self.host = "127.0.0.1" if self._container is None else address_of(self._container)
        (self.port,) = free_ports(1)
        self._folder = Path(tempfile.mkdtemp(prefix="vuls-test-redis-"))
        self._pidfile = (
            self._folder / "pid" if self._container is None else Path(f"/tmp/redis-{secrets.token_hex(4)}.pid")
        )

    def _run(self, *command: str) -> str:
        return _output([*([] if self._container is None else ["docker", "exec", self._container]), *command])

    def start(self) -> None:
        """Start it and wait until it answers."""
        # fmt: off
        self._run(
            "redis-server", "--port", str(self.port), "--bind", "*", "--protected-mode", "no", "--save", "",
            "--daemonize", "yes", "--pidfile", str(self._pidfile), "--maxmemory-policy", "noeviction",
        )
        # fmt: on
        wait_until(self.answers)

    def answers(self) -> bool:
        try:
            with Redis(host=self.host, port=self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: KILL ends it with all its data, STOP makes it hang, CONT goes on."""
        pid = self._run("cat", str(self._pidfile))
        self._run("kill", f"-{number.value}", pid)
        if number == signal.SIGKILL:
            wait_until(lambda: not self.answers())
            self._run("rm", "-f", str(self._pidfile))

    def queue_length(self, queue: str) -> int:
        with Redis(host=self.host, port=self.port, socket_timeout=5) as client:
            return int(client.llen(queue))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.answers():
            self.signal(signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def address_of(container: str) -> str:
    """Return the address of a container in its network."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return _output(["docker", "inspect", "--format", template, container])


def free_ports(number: int) -> list[int]:
    """Return so many different ports that nothing listens on at the moment."""
    with ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [listener.getsockname()[1] for listener in listeners]
