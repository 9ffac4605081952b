"""The servers that are compared. Each runs alone on one processor and broadcasts what it is told."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tests.perf import build, machine
from tests.perf.fanout.line_process import LineProcess
from tests.perf.fanout.message import MARK, SIZE, message

WEB_APP = build.ROOT / "services/web-app"
PYTHON = build.ROOT / ".local/venvs/web-app/bin/python"
START_SECONDS = 60
GO_PEERS = {"gws": None, "centrifuge": '{"id":1,"connect":{}}'}  # and what their clients have to say first
Transport = Literal["unix", "tcp"]
OURS, FLOOR = "Vuls Live", "C loop"


class ServerError(Exception):
    """A server did not do its part; the message says what happened."""


class Server(ABC):
    """A server that runs. `first_text` is what a client has to say before it gets anything."""

    first_text: str | None = None

    def __init__(self, name: str, transport: Transport) -> None:
        self.name = name
        self.transport = transport
        self.pid = 0
        self.address = ""  # the path of a Unix socket, or a TCP port
        self.tokens = Path()

    @abstractmethod
    def start(self, connections: int) -> None:
        """Start, ready for so many clients."""

    @abstractmethod
    def publish(self, first: int, count: int, interval: float) -> None:
        """Send messages to every client, `interval` seconds apart (0: at once); return when all are on the way."""

    @abstractmethod
    def stop(self) -> None:
        """End."""


class Peer(Server):
    """A program that sends every line of its control socket to every client."""

    def __init__(
        self,
        name: str,
        transport: Transport,
        command: list[str],
        first_text: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Describe it; `{address}` and `{control}` in the command become what it listens on."""
        super().__init__(name, transport)
        self.first_text = first_text
        self._command, self._environment = command, environment or {}

    def start(self, connections: int) -> None:  # noqa: ARG002  (it takes as many as come)
        """Start it and connect to its control socket."""
        self._folder = tempfile.TemporaryDirectory(prefix="vuls-perf-")
        folder = Path(self._folder.name)
        control, self.tokens = folder / "control", folder / "tokens"
        self.tokens.write_text("none\n")
        self.address = str(folder / "socket") if self.transport == "unix" else str(free_port())
        paths = {"address": self.address, "control": str(control)}
        command = [part.format(**paths) for part in self._command]
        environment = {name: value.format(**paths) for name, value in self._environment.items()}
        self._process = subprocess.Popen(
            machine.pinned(machine.SERVER_CPU, *command), env=os.environ | environment, stdout=subprocess.DEVNULL
        )
        self.pid = self._process.pid
        self._control = self._connect(str(control))
        if self.name != FLOOR:  # it listens there before it does on its control socket
            self._connect(self.address).close()

    def _connect(self, address: str) -> socket.socket:
        local, deadline = address.startswith("/"), time.monotonic() + START_SECONDS
        while True:
            connection = socket.socket(socket.AF_UNIX if local else socket.AF_INET)
            try:
                connection.connect(address if local else ("127.0.0.1", int(address)))
            except OSError as error:
                connection.close()
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ServerError(f"{self.name} does not answer on {address}") from error
                time.sleep(0.02)
            else:
                return connection

    def publish(self, first: int, count: int, interval: float) -> None:
        """Write a line for each message."""
        began = time.monotonic()
        if interval:
            for number in range(first, first + count):
                time.sleep(max(0.0, began + (number - first) * interval - time.monotonic()))
                self._control.sendall(message(number).encode() + b"\n")
        else:
            at = time.monotonic_ns()
            lines = "".join(message(number, at) + "\n" for number in range(first, first + count))
            self._control.sendall(lines.encode())

    def stop(self) -> None:
        """End it the hard way: it holds nothing."""
        self._control.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


class Instance(Server):
    """Ours: gunicorn as deployed, over PostgreSQL and Redis; the events take the whole way."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(OURS, transport)
        self._folder = tempfile.TemporaryDirectory(prefix="vuls-perf-")
        program = Path(__file__).with_name("application.py")
        command = machine.pinned(machine.CLIENT_CPU, PYTHON, program, self._folder.name)
        environment = os.environ | {"PYTHONPATH": str(WEB_APP), **direct_addresses()}
        self._application = LineProcess(command, WEB_APP, environment)

    def start(self, connections: int) -> None:
        """Start the instance."""
        port = free_port() if self.transport == "tcp" else None
        started = self._ask(START_SECONDS * 2, do="start", connections=connections, cpu=machine.SERVER_CPU, port=port)
        self.address, self.tokens, self.pid = started["address"], Path(started["tokens"]), started["pid"]

    def publish(self, first: int, count: int, interval: float) -> None:
        """Have the events happen."""
        seconds = START_SECONDS + count * interval
        self._ask(seconds, do="publish", first=first, count=count, interval=interval, size=SIZE, mark=MARK)

    def stop(self) -> None:
        """End the instance; it must not have failed on the way."""
        said = self._ask(60, do="stop")
        if "traceback" in said:
            raise ServerError(f"the instance logged a traceback:\n{said['traceback']}")

    def close(self) -> None:
        """End the program that runs it, and drop the database."""
        self._application.close()
        self._folder.cleanup()

    def _ask(self, seconds: float, **command: object) -> dict[str, Any]:
        return self._application.ask(json.dumps(command), seconds)


def direct_addresses() -> dict[str, str]:
    """Return the URLs of the test services at their container's own address, and pin the container."""
    name = os.environ["VULS_TEST_SERVICES_CONTAINER"]
    machine.pin_container(name, machine.CLIENT_CPU)
    address = machine.container_address(name)
    found = {}
    for variable, port in (("VULS_TEST_DATABASE_URL", 5432), ("VULS_TEST_REDIS_URL", 6379)):
        before, _, rest = os.environ[variable].rpartition("@")
        found[variable] = f"{before}@{address}:{port}/{rest.partition('/')[2]}"
    return found


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def peers(names: set[str], transport: Transport) -> list[Peer]:
    """Build and return the peers among `names`."""
    made: list[Peer] = []
    if FLOOR in names:
        floor = str(build.c_program(build.PEERS / "floor.c"))
        made.append(Peer(FLOOR, transport, [floor, "{address}", "{control}"]))
    for name, first_text in GO_PEERS.items():
        if name in names:
            made.append(Peer(name, transport, [str(build.go_program(name)), "{address}", "{control}"], first_text))
    if "node ws" in names:
        node = [str(build.ROOT / ".venv/bin/node"), str(build.node_server())]
        made.append(Peer("node ws", transport, [*node, "{address}", "{control}"]))
    if "naive loop" in names:
        where = "--uds" if transport == "unix" else "--port"
        uvicorn = [str(PYTHON), "-m", "uvicorn", "naive:app", "--app-dir", str(build.PEERS), where, "{address}"]
        options = ["--ws-per-message-deflate", "false", "--log-level", "warning"]
        made.append(Peer("naive loop", transport, [*uvicorn, *options], environment={"CONTROL": "{control}"}))
    return made


def note(text: str) -> None:
    """Write a line of progress."""
    sys.stderr.write(f"{text}\n")
