"""The WebSocket as deployed: who gets in, who gets what, and what happens to those who misbehave."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from redis import Redis
from websockets.exceptions import InvalidStatus

from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent
from app.realtime.inbox import ERRORS
from app.realtime.limits import Limits
from tests.edge.browser import Browser
from tests.edge.conftest import World
from tests.edge.process import ORIGIN, InstanceProcess, eventually, open_sockets
from tests.services import Database

SignIn = Callable[..., Browser]
Happen = Callable[..., StoredEvent]
PING = b"\x81\x84\x00\x00\x00\x00ping"  # the text, masked with zeros
PONG = b"\x81\x04pong"


@pytest.fixture(scope="session", params=[True, False], ids=["bare", "asgi"])
def adopt(request: pytest.FixtureRequest) -> bool:
    """Sockets on bare transports, and through ASGI where a server does not let go of them: both behave alike."""
    return bool(request.param)


@pytest.fixture(scope="session")
def shared_instance(start_instance: Callable[..., InstanceProcess], *, adopt: bool) -> InstanceProcess:
    return start_instance(adopt_sockets=adopt)


def refused(browser: Browser, **headers: str) -> Any:
    """Return the HTTP answer to a handshake that must fail."""
    with pytest.raises(InvalidStatus) as caught, browser.feed(headers=headers):
        pass
    return caught.value.response


def test_the_first_message_says_who_answers_and_where_the_log_stands(sign_in: SignIn, happen: Happen) -> None:
    event = happen("one")
    with sign_in("admin").feed(str(event.cursor)) as feed:
        hello = feed.next()
        assert hello["data"] == {"instance": "test:1", "epoch": event.cursor.epoch, "release": "release-7"}
        assert feed.connection.response is not None
        assert feed.connection.response.headers["X-Vuls-Instance"] == "test:1"


def test_a_second_tab_does_not_evict_the_first(sign_in: SignIn, happen: Happen) -> None:
    browser = sign_in("admin")
    with browser.feed() as first, browser.feed() as second:
        assert first.next()["type"] == second.next()["type"] == "hello"
        event = happen("for both tabs")

        assert first.next()["id"] == second.next()["id"] == str(event.cursor)


def test_each_user_gets_the_events_of_the_hosts_of_its_groups(sign_in: SignIn, happen: Happen, world: World) -> None:
    with ExitStack() as stack:
        feeds = {name: stack.enter_context(sign_in(name).feed()) for name in ("admin", "viewer-1", "viewer-2")}
        for feed in feeds.values():
            feed.next()
        happen("of host 1", world.hosts[0])
        happen("of host 2", world.hosts[1])
        happen("of no host")
        for host in world.hosts:
            happen("end", host)

        names = {
            name: [message["data"]["task_name"] for message in feed.updates_until("end")]
            for name, feed in feeds.items()
        }
    assert names == {
        "admin": ["of host 1", "of host 2", "of no host", "end"],
        "viewer-1": ["of host 1", "end"],
        "viewer-2": ["of host 2", "end"],
    }


def test_a_stranger_is_refused_with_401(instance: InstanceProcess) -> None:
    response = refused(Browser(instance))
    assert response.status_code == 401
    assert b"not_signed_in" in response.body


@pytest.mark.parametrize("origin", ["https://evil.example", None])
def test_a_cookie_with_a_foreign_or_no_origin_is_refused_with_403(sign_in: SignIn, origin: str | None) -> None:
    browser = sign_in("admin")
    del browser.headers["Origin"]
    if origin:
        browser.headers["Origin"] = origin

    response = refused(browser)

    assert response.status_code == 403
    assert b"origin_refused" in response.body


def test_an_expired_cookie_is_refused_with_401(sign_in: SignIn, database: Database) -> None:
    browser = sign_in("admin")
    database.execute("UPDATE user_session SET expires_at = now()")

    assert refused(browser).status_code == 401


def test_a_token_needs_no_origin_and_a_foreign_one_is_refused(
    instance: InstanceProcess, sign_in: SignIn, happen: Happen
) -> None:
    tool = Browser(instance, origin=None)
    body = {"user": "admin", "name": "tool"}
    tool.use_token(sign_in("admin").http.post("/api/tokens", json=body).json()["token"])

    with tool.feed() as feed:
        feed.next()
        happen("for the tool")
        assert feed.next()["data"]["task_name"] == "for the tool"
    assert refused(tool, Origin="https://evil.example").status_code == 403


def test_a_user_has_so_many_connections_and_no_more(
    start_instance: Callable[..., InstanceProcess], sign_in: SignIn
) -> None:
    small = start_instance(connections_per_user=2)
    browser = sign_in("admin", small)
    try:
        with browser.feed() as first, browser.feed() as second:
            first.next(), second.next()
            with browser.feed() as third:
                assert third.close_code() == 4029
            tool = Browser(small, origin=None)
            body = {"user": "admin", "name": "tool"}
            tool.use_token(browser.http.post("/api/tokens", json=body).json()["token"])
            assert refused(tool).status_code == 429
        eventually(lambda: _gets_in(browser))
    finally:
        small.stop()


def _gets_in(browser: Browser) -> bool:
    try:
        with browser.feed():
            return True
    except InvalidStatus:
        return False


def test_what_was_missed_is_replayed_exactly(sign_in: SignIn, happen: Happen, world: World) -> None:
    browser = sign_in("viewer-1")
    since = happen("seen", world.hosts[0])
    missed = [happen(f"missed {number}", world.hosts[0]) for number in range(5)]
    happen("of another group", world.hosts[1])
    with browser.feed(str(since.cursor)) as feed:
        assert feed.next()["type"] == "hello"
        assert feed.next() == {"type": "resumed", "id": str(since.cursor), "data": {"events": 5}}
        live = happen("live", world.hosts[0])
        received = [feed.next()["id"] for _ in range(6)]

    assert received == [str(event.cursor) for event in (*missed, live)]


def test_replay_and_live_feed_join_without_gap_or_repeat_while_events_keep_coming(
    sign_in: SignIn, happen: Happen
) -> None:
    browser = sign_in("admin")
    since = happen("begin")
    enough = threading.Event()

    def write() -> list[str]:
        written = []
        while not enough.wait(0.005):
            written.append(str(happen("another").cursor))
        return written

    received: list[list[str]] = []
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            for _ in range(8):
                with browser.feed(str(since.cursor)) as feed:
                    feed.next()
                    resumed = feed.next()
                    received.append([feed.next()["id"] for _ in range(resumed["data"]["events"] + 3)])
        finally:
            enough.set()
        written = writing.result()

    for ids in received:
        assert ids == written[: len(ids)]


@pytest.mark.parametrize("since", ["other-1", "{epoch}-999999999"], ids=["other epoch", "not of this log"])
def test_a_cursor_that_leads_nowhere_is_answered_with_a_resync(sign_in: SignIn, happen: Happen, since: str) -> None:
    event = happen("one")
    with sign_in("admin").feed(since.format(epoch=event.cursor.epoch)) as feed:
        assert feed.next()["type"] == "hello"
        assert feed.next()["type"] == "resync_required"
        happen("afterwards")
        assert feed.updates_until("afterwards")


def test_a_client_can_begin_with_the_state_and_go_on_from_there(sign_in: SignIn, happen: Happen, world: World) -> None:
    browser = sign_in("viewer-1")
    last = happen("before", world.hosts[0])
    with browser.feed(snapshot=True) as feed:
        assert feed.next()["type"] == "hello"
        snapshot = feed.next()
        happen("after", world.hosts[0])
        assert feed.next()["data"]["task_name"] == "after"
    assert (snapshot["type"], snapshot["id"]) == ("snapshot", str(last.cursor))
    assert snapshot["data"] == browser.http.get("/api/overview").json() | {"cursor": str(last.cursor)}
    assert [task["id"] for task in snapshot["data"]["tasks"]] == [world.tasks[0]]


def test_a_state_is_sent_only_where_a_cursor_leads_nowhere(sign_in: SignIn, happen: Happen) -> None:
    browser = sign_in("admin")
    last = happen("seen")
    with browser.feed(str(last.cursor), snapshot=True) as feed:
        assert [feed.next()["type"] for _ in range(2)] == ["hello", "resumed"]
    with browser.feed("other-1", snapshot=True) as feed:
        assert [feed.next()["type"] for _ in range(3)] == ["hello", "resync_required", "snapshot"]
        happen("after")
        assert feed.next()["data"]["task_name"] == "after"


def test_an_address_has_so_many_connections_and_no_more(
    start_instance: Callable[..., InstanceProcess], sign_in: SignIn, *, adopt: bool
) -> None:
    tight = start_instance(connections_per_address=2, adopt_sockets=adopt)
    here, there = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    first, second = sign_in("viewer-1", tight), sign_in("viewer-2", tight)
    with first.feed(headers=here) as one, second.feed(headers=here) as other:
        one.next(), other.next()
        with second.feed(headers=here) as turned_away:
            assert turned_away.close_code() == 4029
        with second.feed(headers=there) as elsewhere:
            elsewhere.next()
    tight.remove()


def test_a_malformed_cursor_is_refused(sign_in: SignIn) -> None:
    with pytest.raises(InvalidStatus) as caught, sign_in("admin").feed("../../etc"):
        pass
    assert caught.value.response.status_code == 400


def test_a_client_too_far_behind_must_load_anew(
    start_instance: Callable[..., InstanceProcess], sign_in: SignIn, happen: Happen
) -> None:
    short = start_instance(replay_limit=3)
    since = happen("seen")
    for number in range(4):
        happen(f"missed {number}")
    try:
        browser = sign_in("admin", short)
        with browser.feed(str(since.cursor)) as feed:
            assert feed.next()["type"] == "hello"
            assert feed.next()["data"] == {"reason": "too_many"}
        assert browser.http.get("/api/notifications", params={"since": str(since.cursor)}).status_code == 410
    finally:
        short.stop()


def test_heartbeats_carry_the_cursor_to_continue_from(sign_in: SignIn, happen: Happen) -> None:
    with sign_in("viewer-1").feed() as feed:
        unseen = happen("of no host")
        eventually(lambda: feed.heartbeat()["id"] == str(unseen.cursor))


def test_a_new_epoch_sends_every_client_to_load_anew(sign_in: SignIn, happen: Happen, database: Database) -> None:
    with sign_in("admin").feed() as feed:
        feed.next()
        database.execute("UPDATE event_epoch SET epoch = new_epoch()")
        event = happen("in the new history")
        assert feed.next()["type"] == "resync_required"
        follower = happen("and on")
        assert feed.updates_until("and on")[-1]["id"] == str(follower.cursor)
    assert event.cursor.epoch == follower.cursor.epoch


def test_an_invented_id_on_the_channel_moves_nothing_and_shows_nothing(
    instance: InstanceProcess, sign_in: SignIn, happen: Happen, redis_client: Redis
) -> None:
    before = happen("real")
    with instance.admin() as admin:
        eventually(lambda: admin.get("/status").json()["cursor"] == str(before.cursor), 30)
    invented = str(Cursor(before.cursor.epoch, before.cursor.sequence + 1000))
    message = {"type": "task_update", "id": invented, "data": _by_hand("invented")}
    with sign_in("admin").feed() as feed:
        hello = feed.next()
        assert hello["id"] == str(before.cursor)
        redis_client.publish("task_notifications", json.dumps(message))
        assert feed.heartbeat()["id"] == str(before.cursor)
        real = happen("next")
        assert [item["id"] for item in feed.updates_until("next")] == [str(real.cursor)]


def _by_hand(name: str, **more: Any) -> dict[str, Any]:
    return {
        "task_id": 999,
        "task_run_id": 888,
        "status": "success",
        "task_name": name,
        "result_data": {"test": "data"},
        "timestamp": "2025-06-27T15:49:26.760966",
    } | more


def test_a_message_without_an_id_reaches_only_those_who_see_all_hosts(
    sign_in: SignIn, happen: Happen, redis_client: Redis, world: World
) -> None:
    with sign_in("admin").feed() as admin, sign_in("viewer-1").feed() as viewer:
        head = admin.next()["id"]
        viewer.next()
        redis_client.publish("task_notifications", json.dumps({"type": "task_update", "data": _by_hand("by hand")}))
        message = admin.next()
        assert "id" not in message
        assert message["data"] == _by_hand("by hand")
        assert admin.heartbeat()["id"] == head
        happen("of host 1", world.hosts[0])
        assert viewer.next()["data"]["task_name"] == "of host 1"


@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "[]",
        '{"type": "task_update", "data": {}}',
        '{"type": "hello", "data": {}}',
        '{"type": "task_update", "data": {"task_id": "1"}}',
        '{"type": "' + "x" * 20_000 + '"}',
        "\x00",
    ],
)
def test_a_channel_message_that_does_not_fit_is_dropped(
    sign_in: SignIn, happen: Happen, redis_client: Redis, body: str
) -> None:
    with sign_in("admin").feed() as feed:
        feed.next()
        redis_client.publish("task_notifications", body)
        real = happen("real")
        assert feed.next()["id"] == str(real.cursor)


def test_messages_by_hand_are_limited_in_rate(sign_in: SignIn, happen: Happen, redis_client: Redis) -> None:
    with sign_in("admin").feed() as feed:
        feed.next()
        with redis_client.pipeline(transaction=False) as flood:  # all at once: some are let through each second
            for number in range(100):
                message = {"type": "task_update", "data": _by_hand(f"flood {number}")}
                flood.publish("task_notifications", json.dumps(message))
            flood.execute()
        happen("real")
        shown = len(feed.updates_until("real")) - 1
    assert shown < 20


def test_messages_by_hand_can_be_switched_off(
    start_instance: Callable[..., InstanceProcess],
    sign_in: SignIn,
    happen: Happen,
    redis_client: Redis,
) -> None:
    deaf = start_instance(accept_manual_notifications=False)
    try:
        with sign_in("admin", deaf).feed() as feed:
            feed.next()
            redis_client.publish("task_notifications", json.dumps({"type": "task_update", "data": _by_hand("by hand")}))
            real = happen("real")
            assert feed.next()["id"] == str(real.cursor)
    finally:
        deaf.stop()


def test_ping_is_answered_and_nonsense_ends_with_4009(sign_in: SignIn) -> None:
    with sign_in("viewer-1").feed() as feed:
        feed.next()
        feed.connection.send("ping")
        feed.pong()
        feed.connection.send("nonsense")
        assert feed.next()["type"] == "error"
        for _ in range(ERRORS - 1):  # nothing after the one that ends it: a broken pipe would hide why
            feed.connection.send('{"type": "subscribe"}')
        assert feed.close_code() == 4009


def test_a_flood_of_pings_ends_with_4009(sign_in: SignIn) -> None:
    with sign_in("viewer-1").feed() as feed:
        for _ in range(Limits().messages_per_window + 1):
            feed.connection.send("ping")
        assert feed.close_code() == 4009


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x85\x00\x00\x00\x00\xff\xfe\xfd\xfc\xfb", 1007),
        (b"\x81\x05hello", 1002),
        (b"\x83\x80\x00\x00\x00\x00", 1002),
        (b"\xf1\x80\x00\x00\x00\x00", 1002),
        (b"\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", 1009),
        (b"\x80\x80\x00\x00\x00\x00", 1002),
        (b"\x89\xfe\x00\xff\x00\x00\x00\x00" + b"x" * 255, 1002),
    ],
    ids=["bad UTF-8", "unmasked", "unknown opcode", "reserved bits", "huge", "stray continuation", "long ping"],
)
def test_a_malformed_frame_ends_with_the_code_of_the_protocol(
    instance: InstanceProcess, sign_in: SignIn, frame: bytes, code: int
) -> None:
    browser = sign_in("viewer-1")
    raw = _raw_socket(instance, browser)
    raw.sendall(frame)
    received = _read_all(raw)
    assert struct.pack("!H", code) in received[-130:]
    assert "Traceback" not in instance.log


@pytest.mark.parametrize("extensions", ["", "permessage-deflate; client_max_window_bits"], ids=["none", "deflate"])
def test_frames_that_come_with_the_handshake_are_read(
    instance: InstanceProcess, sign_in: SignIn, extensions: str
) -> None:
    browser = sign_in("viewer-1")
    request = handshake(browser, extensions)
    for cut in range(len(request) - 5, len(request) + len(PING) + 1, 1 if not extensions else 4):
        raw = socket.socket(socket.AF_UNIX)
        raw.settimeout(10)
        raw.connect(str(instance.http_socket))
        whole = request + PING
        raw.sendall(whole[:cut])
        time.sleep(0.002)  # so that the two parts come apart; nothing tells when the server has read the first
        raw.sendall(whole[cut:])
        received = _read_until(raw, PONG)
        assert received.startswith(b"HTTP/1.1 101")
        assert b"permessage-deflate" not in received
        assert b'{"type":"hello"' in received
        raw.close()


def test_fragments_are_joined_and_a_ping_between_them_is_answered(instance: InstanceProcess, sign_in: SignIn) -> None:
    raw = _raw_socket(instance, sign_in("viewer-1"))
    for byte in b"\x01\x82\x00\x00\x00\x00pi":
        raw.sendall(bytes([byte]))
    raw.sendall(b"\x89\x81\x00\x00\x00\x00x")
    _read_until(raw, b"\x8a\x01x")
    raw.sendall(b"\x80\x82\x00\x00\x00\x00ng")
    _read_until(raw, PONG)
    raw.sendall(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
    assert _read_all(raw).endswith(b"\x88\x02\x03\xe8")


def _read_until(raw: socket.socket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        part = raw.recv(65536)
        assert part, received
        received += part
    return received


def _raw_socket(instance: InstanceProcess, browser: Browser) -> socket.socket:
    """Open a WebSocket by hand, and return it after the 101."""
    raw = socket.socket(socket.AF_UNIX)
    raw.settimeout(10)
    raw.connect(str(instance.http_socket))
    raw.sendall(handshake(browser))
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += raw.recv(1)
    assert answer.startswith(b"HTTP/1.1 101")
    return raw


def handshake(browser: Browser, extensions: str = "") -> bytes:
    lines = [
        "GET /api/ws HTTP/1.1",
        "Host: vuls.example",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        f"Origin: {ORIGIN}",
        f"Cookie: {browser.headers['Cookie']}",
    ]
    if extensions:
        lines.append(f"Sec-WebSocket-Extensions: {extensions}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("part", [0.1, 0.5, 1.0], ids=["early", "half way", "before the answer"])
def test_hanging_up_during_the_handshake_leaves_nothing_behind(
    instance: InstanceProcess, sign_in: SignIn, part: float
) -> None:
    browser = sign_in("viewer-1")
    request = handshake(browser)
    before = open_sockets(instance)
    with ExitStack() as stack:
        raws = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(20)]
        for raw in raws:
            raw.connect(str(instance.http_socket))
        eventually(lambda: open_sockets(instance) >= before + len(raws))
        for raw in raws:
            raw.sendall(request[: int(len(request) * part)])
            raw.close()
    eventually(lambda: open_sockets(instance) <= before, 30)
    with instance.admin() as admin:
        # What came before this one in full has been looked at when this one is let in.
        with browser.feed() as feed:
            feed.next()
        eventually(lambda: admin.get("/status").json()["clients"] == 0, 30)
    assert "Traceback" not in instance.log


def _read_all(raw: socket.socket) -> bytes:
    received = b""
    while part := raw.recv(65536):
        received += part
    return received


def test_signing_out_closes_the_sockets_of_that_browser_only(sign_in: SignIn, happen: Happen) -> None:
    leaving, staying = sign_in("admin"), sign_in("admin")
    with leaving.feed() as gone, staying.feed() as kept:
        gone.next(), kept.next()
        leaving.http.post("/api/auth/logout")
        assert gone.close_code(timeout=5) == 4001
        happen("afterwards")
        assert kept.next()["data"]["task_name"] == "afterwards"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("DELETE FROM user_session", 4001),
        ("UPDATE user_session SET expires_at = now()", 4001),
        ("UPDATE app_user SET disabled = true WHERE name = 'viewer-1'", 4003),
        ("DELETE FROM app_user WHERE name = 'viewer-1'", 4001),
    ],
    ids=["signed out elsewhere", "expired", "disabled", "removed"],
)
def test_a_sign_in_that_ended_elsewhere_closes_the_socket(
    sign_in: SignIn, database: Database, change: str, code: int
) -> None:
    with sign_in("viewer-1").feed() as feed:
        feed.next()
        database.execute(change)
        assert feed.close_code(timeout=5) == code


def test_rights_that_were_taken_away_filter_the_open_socket(
    sign_in: SignIn, happen: Happen, world: World, database: Database
) -> None:
    with sign_in("viewer-1").feed() as feed:
        feed.next()
        database.execute(
            "UPDATE user_group SET group_id = (SELECT id FROM host_group WHERE name = 'group-2') WHERE user_id = %s",
            world.users["viewer-1"],
        )

        def follows() -> bool:
            happen("of host 1", world.hosts[0])
            happen("of host 2", world.hosts[1])
            return bool(feed.next()["data"]["task_name"] == "of host 2")

        eventually(follows)
        happen("of host 1 afterwards", world.hosts[0])
        happen("end", world.hosts[1])
        names = [message["data"]["task_name"] for message in feed.updates_until("end")]
        assert "of host 1 afterwards" not in names


def _fill_the_log(database: Database) -> None:
    """Store 25 events of 4 KB."""
    data = json.dumps(_by_hand("x" * 4000))
    database.execute("INSERT INTO event (type, data) SELECT 'task_update', %s::jsonb FROM generate_series(1, 25)", data)


def test_a_client_that_does_not_read_is_closed_and_holds_up_nobody(
    start_instance: Callable[..., InstanceProcess], sign_in: SignIn, happen: Happen, database: Database, *, adopt: bool
) -> None:
    narrow = start_instance(slow_client_seconds=1, adopt_sockets=adopt)
    try:
        stalled = _raw_socket(narrow, sign_in("admin", narrow))
        with sign_in("admin", narrow).feed() as feed, narrow.admin() as admin:
            feed.next()
            before = open_sockets(narrow)
            for _ in range(100):
                _fill_the_log(database)
                happen("now")
                assert feed.updates_until("now")
                if admin.get("/status").json()["clients"] == 1:
                    break
            assert 'vuls_closed_total{code="4008"} 1.0' in admin.get("/metrics").text
            # The connection ends within the time it gets to read its close, although it never reads.
            eventually(lambda: open_sockets(narrow) < before, timeout=20)
        stalled.close()
        assert "does not read (4008)" in narrow.log
    finally:
        narrow.stop()


def test_a_stop_closes_every_socket_with_1012(
    start_instance: Callable[..., InstanceProcess], sign_in: SignIn, *, adopt: bool
) -> None:
    other = start_instance(adopt_sockets=adopt)
    with sign_in("admin", other).feed() as feed:
        feed.next()
        stalled = _raw_socket(other, sign_in("admin", other))
        assert other.stop() == 0
        assert feed.close_code() == 1012
        stalled.close()
