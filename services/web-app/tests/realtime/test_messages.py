"""Messages: their schemas, what is sent by hand, what clients send."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from app.domain.cursor import Cursor
from app.domain.difference import Change, Changed, summary
from app.domain.digest import Digest, condense
from app.domain.envelope import StoredEvent
from app.domain.messages import json_schemas
from app.domain.permissions import Access, Role
from app.domain.severity import Severity
from app.realtime import frames
from app.realtime.client import CloseCode, QueueClient, SessionCredential
from app.realtime.hub import ConnectionManager
from app.realtime.inbox import ERRORS, Inbox
from app.realtime.manual import ManualGate

HEAD = Cursor("k3f9", 1842)
BY_HAND: dict[str, Any] = {
    "type": "task_update",
    "data": {
        "task_id": 999,
        "task_run_id": 888,
        "status": "success",
        "task_name": "Test Notification",
        "result_data": {"test": "data"},
        "timestamp": "2025-06-27T15:49:26.760966",
    },
}

PROGRESS = StoredEvent(
    HEAD,
    "task_progress",
    3,
    {
        "task_id": 1,
        "task_run_id": 2,
        "task_name": "Scan web-1",
        "phase": "scanning",
        "percent": 40,
        "timestamp": "2025-06-27T15:49:26.760966",
    },
    datetime.now(UTC),
)
CHANGED = StoredEvent(
    HEAD,
    "findings_changed",
    3,
    {
        "host_id": 3,
        "host_name": "web-1",
        "scan_id": 23,
        "task_run_id": 15,
        **summary([Changed("CVE-2099-0011", Change.NEW, Severity.CRITICAL)]),
        "timestamp": "2025-06-27T15:49:26.760966",
    },
    datetime.now(UTC),
)
(DIGEST,) = condense([StoredEvent(HEAD, "task_update", None, BY_HAND["data"], datetime.now(UTC))], 1)
assert isinstance(DIGEST, Digest)


@pytest.mark.parametrize(
    "frame",
    [
        frames.hello(HEAD, "vuls-web-1:1", "release-7"),
        frames.resumed(HEAD, 3),
        frames.resync_required(HEAD, "too_old"),
        frames.heartbeat(HEAD, frames.Pulse("stale", 31.4)),
        frames.digest(DIGEST),
        frames.snapshot(HEAD, {"cursor": str(HEAD)}),
        frames.event_frame(PROGRESS),
        frames.event_frame(CHANGED),
        frames.reconnect(500),
        frames.error("no"),
        frames.manual_frame(BY_HAND),
    ],
    ids=lambda frame: orjson.loads(frame.text)["type"],
)
def test_every_message_fits_its_schema(frame: frames.Frame) -> None:
    message = orjson.loads(frame.text)
    Draft202012Validator(json_schemas()[message["type"]]).validate(message)


def test_every_schema_is_one() -> None:
    for schema in json_schemas().values():
        Draft202012Validator.check_schema(schema)


def connected() -> tuple[ConnectionManager, QueueClient]:
    manager = ConnectionManager()
    manager.begin(HEAD)
    client = QueueClient(1, SessionCredential(b"x"), manager, 1 << 20)
    manager.connect(client, Access(1, "admin", Role.ADMIN, None))
    manager.greet(client, [frames.hello(HEAD, "i", "r")], (), HEAD.sequence)
    return manager, client


def gate(**settings: Any) -> tuple[ManualGate, QueueClient]:
    manager, client = connected()
    return ManualGate(manager, **({"accept": True, "rate": 1000.0} | settings)), client


async def shown(client: QueueClient) -> list[str]:
    """Take what waits for a client, but for the hello."""
    return [frame.text for batch in await client.next_batches() for frame in batch.frames][1:]


async def test_a_message_by_hand_that_fits_is_shown_as_it_came() -> None:
    entrance, client = gate()
    entrance.receive(BY_HAND)
    assert [orjson.loads(text) for text in await shown(client)] == [BY_HAND]


@pytest.mark.parametrize(
    "change",
    [
        {"type": "hello"},
        {"extra": 1},
        {"data": None},
        {"data": BY_HAND["data"] | {"status": "done"}},
        {"data": BY_HAND["data"] | {"task_id": "999"}},
        {"data": BY_HAND["data"] | {"timestamp": "2025-06-27T15:49:26Z"}},
        {"data": {key: value for key, value in BY_HAND["data"].items() if key != "task_name"}},
        {"data": BY_HAND["data"] | {"result_data": {"critical": -1}}},
    ],
)
async def test_a_message_by_hand_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    entrance, client = gate()
    entrance.receive(BY_HAND | change)
    assert await shown(client) == []
    assert entrance.refused == 1


async def test_nothing_by_hand_passes_where_it_is_switched_off() -> None:
    entrance, client = gate(accept=False)
    entrance.receive(BY_HAND)
    assert await shown(client) == []


async def test_a_burst_by_hand_is_cut() -> None:
    entrance, client = gate(rate=2.0)
    for _ in range(50):
        entrance.receive(BY_HAND)
    assert len(await shown(client)) <= 3


_SCALARS = st.none() | st.booleans() | st.integers() | st.text()
_JSON = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(_JSON)
def test_no_message_by_hand_raises(value: Any) -> None:
    entrance, _ = gate()
    entrance.receive({"type": "task_update", "data": value})
    entrance.receive(value if isinstance(value, dict) else {"data": value})


def inbox() -> tuple[Inbox, QueueClient]:
    _, client = connected()
    return Inbox(client), client


async def test_ping_is_answered() -> None:
    box, client = inbox()
    box.receive("ping")
    assert await shown(client) == ["pong"]


@pytest.mark.parametrize("text", [None, "", "Ping", "ping ", '{"type": "ping"}', "\x00"])
async def test_anything_else_is_an_error_and_repeated_the_end(text: str | None) -> None:
    box, client = inbox()
    box.receive(text)
    assert orjson.loads((await shown(client))[0])["type"] == "error"
    for _ in range(ERRORS - 1):
        box.receive(text)
    assert client.closing is CloseCode.ABUSE


def test_too_many_pings_are_the_end() -> None:
    box, client = inbox()
    for _ in range(client.home.limits.messages_per_window):
        box.receive("ping")
    assert client.closing is None
    box.receive("ping")
    assert client.closing is CloseCode.ABUSE


def test_only_where_a_client_may_continue_an_event_stream_gets_an_id() -> None:
    assert b"id: k3f9-1842\n" in frames.heartbeat(HEAD, frames.Pulse("stale", 31.4)).sse
    for frame in (frames.hello(HEAD, "i", "r"), frames.resumed(HEAD, 1), frames.resync_required(HEAD, "too_old")):
        assert not frame.sse.startswith(b"id:")
