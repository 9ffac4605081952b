"""What an idle socket costs: no task, no queue, no parser stays with it."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.wire import Op, frame
from tests.edge.browser import Browser
from tests.edge.process import InstanceProcess, eventually
from tests.edge.test_socket import handshake

SOCKETS = 300  # for each of two measurements
ALIVE = 5.0  # seconds after which a client says that it is alive, whether it was asked or not
WISH = 4  # KB resident for an idle connection


def _resident(instance: InstanceProcess) -> int:
    """Return the KB that the serving process, gunicorn's only child, has in memory."""
    pid = instance.process.pid
    (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    status = Path(f"/proc/{worker}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def test_an_idle_socket_costs_little_memory(
    start_instance: Callable[..., InstanceProcess],
    sign_in: Callable[..., Browser],
    capsys: pytest.CaptureFixture[str],
) -> None:
    instance = start_instance(connections_per_user=10 * SOCKETS, heartbeat_interval=15)
    request = handshake(sign_in("admin", instance))
    sockets: list[socket.socket] = []
    told = time.monotonic()
    with ExitStack() as opened, instance.admin() as admin:

        def stay_alive() -> None:
            """On a slow day the first ones are pinged before the last ones are open."""
            nonlocal told
            if time.monotonic() > told + ALIVE:
                told = time.monotonic()
                for raw in sockets:
                    raw.sendall(frame(Op.PONG))

        def open_more() -> int:
            for _ in range(SOCKETS):
                stay_alive()
                raw = opened.enter_context(socket.socket(socket.AF_UNIX))
                raw.settimeout(60)
                raw.connect(str(instance.http_socket))
                raw.sendall(request)
                assert raw.recv(4096).startswith(b"HTTP/1.1 101")
                sockets.append(raw)
            return _resident(instance)

        first = open_more()
        cost = (open_more() - first) / SOCKETS
        assert admin.get("/status").json()["clients"] == 2 * SOCKETS
    with capsys.disabled():
        print(f"\nmemory of an idle socket: {cost:.1f} KB (wish: {WISH})")  # noqa: T201
    assert cost < 5 * WISH
    with instance.admin() as admin:
        eventually(lambda: admin.get("/status").json()["clients"] == 0, 60)
