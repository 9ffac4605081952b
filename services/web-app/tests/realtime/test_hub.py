"""The hub and its clients, without a network: order, audiences, limits, rights."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent
from app.domain.permissions import Access, Role
from app.realtime import frames
from app.realtime.client import Client, CloseCode, Offer, SessionCredential, TokenCredential
from app.realtime.hub import ConnectionManager, TooManyConnectionsError

EPOCH = "k3f9"


def event(sequence: int, host_id: int | None = None) -> StoredEvent:
    return StoredEvent(Cursor(EPOCH, sequence), "task_update", host_id, {"n": sequence}, datetime.now(UTC))


def access(user_id: int, *host_ids: int) -> Access:
    role = Role.VIEWER if host_ids else Role.ADMIN
    return Access(user_id, f"user-{user_id}", role, frozenset(host_ids) if host_ids else None)


def client(user_id: int, limit: int = 100) -> Client:
    return Client(user_id, SessionCredential(bytes([user_id])), limit)


def hub(at: int = 10) -> ConnectionManager:
    manager = ConnectionManager()
    manager.head = Cursor(EPOCH, at)
    return manager


async def waiting(of: Client) -> list[Any]:
    """Return what waits for a client, as sequences or types."""
    of.offer(frames.PONG)
    texts = [frame.text for frame in await of.next_frames()]
    messages = [orjson.loads(text) for text in texts if text != "pong"]
    return [message["data"].get("n") if message["type"] == "task_update" else message["type"] for message in messages]


async def test_clients_of_one_user_all_get_an_event() -> None:
    manager = hub()
    first, second = client(1), client(1)
    for one in (first, second):
        manager.connect(one, access(1), limit=2)

    manager.publish(event(11))

    assert await waiting(first) == await waiting(second) == [11]
    assert len(manager) == 2


async def test_an_event_is_encoded_once_for_all() -> None:
    manager = hub()
    first, second = client(1), client(2)
    manager.connect(first, access(1), 1)
    manager.connect(second, access(2), 1)

    manager.publish(event(11))

    assert (await first.next_frames())[0] is (await second.next_frames())[0]


async def test_a_frame_never_reaches_who_may_not_see_its_host() -> None:
    manager = hub()
    admin, of_host_1 = client(1), client(2)
    manager.connect(admin, access(1), 1)
    manager.connect(of_host_1, access(2, 1), 1)
    for sequence, host_id in ((11, 1), (12, 2), (13, None)):
        manager.publish(event(sequence, host_id))
    manager.publish_manual(frames.manual_frame({"type": "task_update", "data": {"n": 14}}))

    assert await waiting(admin) == [11, 12, 13, 14]
    assert await waiting(of_host_1) == [11]


def test_a_user_connects_so_often_and_no_more() -> None:
    manager = hub()
    first = client(1)
    manager.connect(first, access(1), limit=1)
    with pytest.raises(TooManyConnectionsError):
        manager.connect(client(1), access(1), limit=1)
    manager.disconnect(first)
    manager.connect(client(1), access(1), limit=1)


def test_nobody_connects_before_the_log_was_read() -> None:
    with pytest.raises(RuntimeError):
        ConnectionManager().connect(client(1), access(1), limit=1)


async def test_a_client_that_was_ahead_gets_nothing_twice() -> None:
    manager = hub(at=10)
    ahead = client(1)
    manager.connect(ahead, access(1), 1)
    ahead.after = 12  # it has been told so by a faster instance
    for sequence in (11, 12, 13):
        manager.publish(event(sequence))
    assert await waiting(ahead) == [13]


async def test_heartbeats_reach_who_has_seen_everything_and_never_move_a_cursor_back() -> None:
    manager = hub(at=10)
    level, ahead = client(1), client(2)
    manager.connect(level, access(1), 1)
    manager.connect(ahead, access(2), 1)
    ahead.after = 12

    manager.heartbeat()

    assert await waiting(level) == ["heartbeat"]
    assert await waiting(ahead) == []


async def test_the_slow_one_is_closed_and_the_others_go_on() -> None:
    manager = hub()
    slow, fast = client(1, limit=2), client(2, limit=2)
    manager.connect(slow, access(1), 1)
    manager.connect(fast, access(2), 1)
    for sequence in (11, 12, 13):
        manager.publish(event(sequence))
        assert await waiting(fast) == [sequence]

    assert (slow.closing, fast.closing) == (CloseCode.TOO_SLOW, None)
    assert await slow.next_frames() == []
    manager.disconnect(slow)
    assert manager.counters.closed == {CloseCode.TOO_SLOW: 1}


def test_what_a_client_catches_up_with_does_not_count_against_its_limit() -> None:
    one = client(1, limit=1)
    one.catch_up([frames.event_frame(event(sequence)) for sequence in range(5)])
    assert one.offer(frames.event_frame(event(11))) is Offer.TAKEN
    assert one.offer(frames.event_frame(event(12))) is Offer.OVERFLOW
    assert one.offer(frames.event_frame(event(13))) is Offer.SKIPPED


async def test_missed_events_go_before_live_ones() -> None:
    one = client(1)
    one.offer(frames.event_frame(event(12)))
    one.catch_up([frames.event_frame(event(11))])
    assert await waiting(one) == [11, 12]


def test_the_first_reason_to_close_stands() -> None:
    one = client(1)
    one.close(CloseCode.SIGNED_OUT)
    one.close(CloseCode.RESTART)
    assert one.closing is CloseCode.SIGNED_OUT


def test_only_the_credential_that_ended_is_closed() -> None:
    manager = hub()
    by_session, by_token = client(1), Client(1, TokenCredential(7), 10)
    for one in (by_session, by_token):
        manager.connect(one, access(1), 5)

    manager.end(TokenCredential(7))
    assert (by_session.closing, by_token.closing) == (None, CloseCode.SIGNED_OUT)


async def test_new_rights_filter_what_follows() -> None:
    manager = hub()
    one = client(1)
    manager.connect(one, access(1, 1), 1)
    manager.publish(event(11, 1))
    manager.refresh({1: access(1, 2)}, ended=())
    manager.publish(event(12, 1))
    manager.publish(event(13, 2))
    assert await waiting(one) == [11, 13]


def test_a_user_who_may_not_sign_in_any_more_is_closed_and_one_who_was_not_looked_at_stays() -> None:
    manager = hub()
    gone, unseen = client(1), client(2)
    manager.connect(gone, access(1), 1)
    manager.connect(unseen, access(2), 1)
    manager.refresh({1: None, 3: None}, ended=())
    assert (gone.closing, unseen.closing) == (CloseCode.FORBIDDEN, None)


async def test_another_history_is_told_to_everybody_and_followed() -> None:
    manager = hub(at=100)
    one = client(1)
    manager.connect(one, access(1), 1)
    manager.resync(Cursor("other", 3))
    manager.publish(StoredEvent(Cursor("other", 4), "task_update", None, {"n": 4}, datetime.now(UTC)))
    assert await waiting(one) == ["resync_required", 4]


@given(st.lists(st.sampled_from(["connect", "disconnect", "publish", "rights"]), max_size=40), st.data())
def test_every_client_gets_exactly_what_its_rights_allow_in_order(steps: list[str], data: st.DataObject) -> None:
    async def play() -> None:
        manager, sequence = hub(at=0), 0
        rights: dict[int, Access] = {user: access(user, user % 3 + 1) for user in (1, 2, 3)} | {4: access(4)}
        expected: dict[Client, list[int]] = {}
        for step in steps:
            if step == "connect":
                user = data.draw(st.sampled_from(sorted(rights)))
                one = client(user)
                manager.connect(one, rights[user], limit=100)
                expected[one] = []
            elif step == "disconnect" and expected:
                manager.disconnect(data.draw(st.sampled_from(list(expected))))
            elif step == "rights":
                user = data.draw(st.sampled_from([1, 2, 3]))
                rights[user] = access(user, data.draw(st.integers(1, 3)))
                manager.refresh({user: rights[user]}, ended=())
            elif step == "publish":
                sequence += 1
                host_id = data.draw(st.sampled_from([None, 1, 2, 3]))
                for one in manager.clients():
                    if rights[one.user_id].may_see(host_id):
                        expected[one].append(sequence)
                manager.publish(event(sequence, host_id))
        for one, sequences in expected.items():
            assert await waiting(one) == sequences

    asyncio.run(play())
