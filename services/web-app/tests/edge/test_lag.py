"""A client that lags further behind than an instance remembers is caught up from the log, and is then live again."""

import json
import re
import socket
from collections.abc import Callable, Iterator

import pytest

from app.domain.envelope import StoredEvent
from tests.edge.browser import Browser
from tests.edge.process import InstanceProcess, eventually
from tests.edge.test_socket import handshake
from tests.services import Database

EVENTS = 1500  # of 4 KB: more than the buffers of a connection take
ID = re.compile(rb'"type":"task_update","id":"([^"]+)"')


@pytest.fixture(params=["bare socket", "ASGI socket", "event stream"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def forgetful(kind: str, start_instance: Callable[..., InstanceProcess]) -> Iterator[InstanceProcess]:
    """An instance that remembers next to nothing."""
    made = start_instance(ring_size=5, client_buffer=16 * 1024, adopt_sockets=kind == "bare socket")
    yield made
    made.remove()


def _connected(kind: str, instance: InstanceProcess, browser: Browser) -> socket.socket:
    raw = socket.socket(socket.AF_UNIX)
    raw.settimeout(30)
    raw.connect(str(instance.http_socket))
    if kind == "event stream":
        raw.sendall(
            f"GET /api/events HTTP/1.1\r\nHost: vuls.example\r\nCookie: {browser.headers['Cookie']}\r\n\r\n".encode()
        )
    else:
        raw.sendall(handshake(browser))
    return raw


def _happens_in_bulk(database: Database) -> None:
    result = {"reason": {"code": "x", "sentence": "x" * 4000}}
    data = {"task_id": 1, "task_run_id": 1, "status": "failed", "task_name": "one", "result_data": result}
    data["timestamp"] = "2026-01-01T00:00:00"
    database.execute(
        "INSERT INTO event (type, data) SELECT 'task_update', %s::jsonb FROM generate_series(1, %s)",
        json.dumps(data),
        EVENTS,
    )


def test_a_client_that_stops_reading_for_a_while_gets_everything_and_what_follows(
    kind: str,
    forgetful: InstanceProcess,
    sign_in: Callable[..., Browser],
    happen: Callable[..., StoredEvent],
    database: Database,
) -> None:
    client = _connected(kind, forgetful, sign_in("admin", forgetful))
    with forgetful.admin() as admin:
        eventually(lambda: admin.get("/status").json()["clients"] == 1)
        _happens_in_bulk(database)
        middle = happen("in the middle")
        eventually(lambda: admin.get("/status").json()["cursor"] == str(middle.cursor), timeout=30)
        eventually(lambda: "vuls_lagging 1.0" in admin.get("/metrics").text, timeout=30)
    received = _read_until(client, middle)
    last = happen("the last")
    received += _read_until(client, last)
    client.close()
    ids = [int(found.rpartition(b"-")[2]) for found in ID.findall(received)]
    assert ids == sorted(set(ids))
    assert len(ids) == EVENTS + 2
    assert "Traceback" not in forgetful.log


def _read_until(client: socket.socket, event: StoredEvent) -> bytes:
    received = b""
    while f'"id":"{event.cursor}"'.encode() not in received[-70_000:]:
        part = client.recv(65536)
        assert part, "the instance closed the connection"
        received += part
    return received
