"""Polling and server-sent events: the same log and the same cursors as the socket."""

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from app.domain.envelope import StoredEvent
from tests.edge.browser import Browser, checked
from tests.edge.conftest import World
from tests.edge.process import InstanceProcess, eventually, open_sockets

SignIn = Callable[..., Browser]
Happen = Callable[..., StoredEvent]


def stream(response: httpx.Response) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Yield id and message of each server-sent event, as a browser reads them."""
    cursor = None
    for line in response.iter_lines():
        if line.startswith("id: "):
            cursor = line.removeprefix("id: ")
        elif line.startswith("data: "):
            yield cursor, checked(line.removeprefix("data: "))
            cursor = None


def test_polling_tells_what_was_missed_and_where_to_go_on(sign_in: SignIn, happen: Happen, world: World) -> None:
    http = sign_in("viewer-1").http
    start = http.get("/api/notifications").json()
    assert start["items"] == []
    seen = happen("of host 1", world.hosts[0])
    last = happen("of host 2", world.hosts[1])

    answer = http.get("/api/notifications", params={"since": start["next"]}).json()

    assert [item["id"] for item in answer["items"]] == [str(seen.cursor)]
    assert answer["next"] == str(last.cursor)
    assert http.get("/api/notifications", params={"since": answer["next"]}).json() == {
        "items": [],
        "next": str(last.cursor),
    }


@pytest.mark.parametrize(("since", "status"), [("other-1", 410), ("nonsense", 400), ("", 400), ("a-" + "9" * 30, 400)])
def test_polling_with_a_cursor_that_leads_nowhere(sign_in: SignIn, since: str, status: int) -> None:
    response = sign_in("admin").http.get("/api/notifications", params={"since": since})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_an_event_stream_resumes_from_the_last_event_id(sign_in: SignIn, happen: Happen) -> None:
    http = sign_in("admin").http
    since = happen("seen")
    missed = happen("missed")
    with http.stream("GET", "/api/events", headers={"Last-Event-ID": str(since.cursor)}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        messages = stream(response)
        assert next(messages)[1]["type"] == "hello"
        assert next(messages) == (None, {"type": "resumed", "id": str(since.cursor), "data": {"events": 1}})
        cursor, message = next(messages)
        assert cursor == message["id"] == str(missed.cursor)
        live = happen("live")
        ids = []
        for cursor, message in messages:  # up to the heartbeat that says that nothing is missing
            if message["type"] == "task_update":
                ids.append(cursor)
            elif cursor == str(live.cursor):
                break
        assert ids == [str(live.cursor)]


def test_an_event_stream_ends_when_its_session_does(instance: InstanceProcess, sign_in: SignIn) -> None:
    browser = sign_in("viewer-1")
    with browser.http.stream("GET", "/api/events") as response:
        messages = stream(response)
        assert next(messages)[1]["type"] == "hello"
        with instance.client(**browser.headers) as other:
            assert other.post("/api/auth/logout").status_code == 204
        assert all(message["type"] == "heartbeat" for _, message in messages)


def test_an_event_stream_can_begin_with_the_state(sign_in: SignIn) -> None:
    http = sign_in("admin").http
    with http.stream("GET", "/api/events", params={"snapshot": "true"}) as response:
        messages = stream(response)
        assert next(messages)[1]["type"] == "hello"
        cursor, snapshot = next(messages)
        assert (snapshot["type"], snapshot["id"]) == ("snapshot", cursor)


def test_an_event_stream_that_is_not_read_is_cut_off(
    start_instance: Callable[..., InstanceProcess], sign_in: SignIn, happen: Happen
) -> None:
    narrow = start_instance(slow_client_seconds=1, client_buffer=1024)
    browser = sign_in("admin", narrow)
    stalled = socket.socket(socket.AF_UNIX)
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect(str(narrow.http_socket))
    cookie = browser.headers["Cookie"]
    stalled.sendall(f"GET /api/events HTTP/1.1\r\nHost: vuls.example\r\nCookie: {cookie}\r\n\r\n".encode())
    with narrow.admin() as admin:
        eventually(lambda: admin.get("/status").json()["clients"] == 1)
        before = open_sockets(narrow)
        while admin.get("/status").json()["clients"]:
            happen("x" * 10_000)
        eventually(lambda: open_sockets(narrow) < before)
    stalled.close()
    assert "does not read (4008)" in narrow.log
    assert "Traceback" not in narrow.log
    assert "ERROR" not in narrow.log
    narrow.remove()


def test_a_stranger_gets_no_stream(instance: InstanceProcess) -> None:
    assert instance.client().get("/api/events").status_code == 401


def test_the_feed_is_described(instance: InstanceProcess) -> None:
    document = instance.client().get("/api/asyncapi.json").json()

    assert document["asyncapi"] == "3.0.0"
    assert set(document["components"]["messages"]) >= {
        "task_update",
        "hello",
        "resumed",
        "resync_required",
        "heartbeat",
    }
    text = json.dumps(document)
    for reference in {part.partition('"')[0] for part in text.split('"$ref": "#')[1:]}:
        assert _resolves(document, reference) or "$defs" in reference, reference


def _resolves(document: Any, reference: str) -> bool:
    for part in reference.strip("/").split("/"):
        if part not in document:
            return False
        document = document[part]
    return True
