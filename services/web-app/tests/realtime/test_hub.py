"""The hub and its clients, without a network: order, audiences, limits, rights, clients that lag."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent
from app.domain.permissions import Access, Role
from app.realtime import frames
from app.realtime.client import CloseCode, QueueClient, SessionCredential, TokenCredential
from app.realtime.hub import ConnectionManager, TooManyConnectionsError
from app.realtime.limits import Limits

EPOCH = "k3f9"
PULSE = frames.Pulse("live", 0.1)
ROOM = 1 << 20  # bytes: no client of these tests fills that


def event(sequence: int, host_id: int | None = None) -> StoredEvent:
    return StoredEvent(Cursor(EPOCH, sequence), "task_update", host_id, {"n": sequence}, datetime.now(UTC))


def events(*sequences: int) -> list[StoredEvent]:
    return [event(sequence) for sequence in sequences]


def access(user_id: int, *host_ids: int) -> Access:
    role = Role.VIEWER if host_ids else Role.ADMIN
    return Access(user_id, f"user-{user_id}", role, frozenset(host_ids) if host_ids else None)


def hub_at(sequence: int = 10) -> ConnectionManager:
    manager = ConnectionManager()
    manager.begin(Cursor(EPOCH, sequence))
    return manager


def connect(
    manager: ConnectionManager,
    rights: Access,
    room: int = ROOM,
    *,
    token: int | None = None,
    address: str | None = None,
) -> QueueClient:
    """Return a new client that is connected but not greeted."""
    credential = TokenCredential(token) if token else SessionCredential(bytes([rights.user_id]))
    client = QueueClient(rights.user_id, credential, manager, room, address)
    manager.connect(client, rights)
    return client


def join(
    manager: ConnectionManager, rights: Access, room: int = ROOM, missed: Sequence[StoredEvent] = (), **more: Any
) -> QueueClient:
    """Return a new client that has everything up to the head, or up to the last of `missed`."""
    client = connect(manager, rights, room, **more)
    assert manager.head
    until = missed[-1].cursor.sequence if missed else manager.head.sequence
    manager.greet(client, [frames.PONG], missed, until)
    return client


async def waiting(of: QueueClient) -> list[Any]:
    """Take what waits for a client, as sequences or types."""
    if not of.waiting:
        return []
    texts = [frame.text for batch in await of.next_batches() for frame in batch.frames]
    messages = [orjson.loads(text) for text in texts if text != "pong"]
    return [message["data"].get("n") if message["type"] == "task_update" else message["type"] for message in messages]


async def everything(of: QueueClient) -> list[Any]:
    """Take what waits for a client until nothing more comes."""
    taken = []
    while of.waiting:
        taken += await waiting(of)
    return taken


async def test_clients_of_one_user_all_get_an_event() -> None:
    manager = hub_at()
    first, second = join(manager, access(1)), join(manager, access(1))

    manager.publish(events(11))

    assert await waiting(first) == await waiting(second) == [11]
    assert len(manager) == 2


async def test_an_event_is_encoded_once_for_all() -> None:
    manager = hub_at()
    first, second = join(manager, access(1)), join(manager, access(2))
    await waiting(first), await waiting(second)

    manager.publish(events(11, 12))

    (one,), (other,) = await first.next_batches(), await second.next_batches()
    assert one is other
    assert one.wire == b"".join(frame.wire for frame in one.frames)
    assert one.sse == b"".join(frame.sse for frame in one.frames)


async def test_a_frame_never_reaches_who_may_not_see_its_host() -> None:
    manager = hub_at()
    admin, of_host_1 = join(manager, access(1)), join(manager, access(2, 1))
    manager.publish([event(11, 1), event(12, 2), event(13, None)])
    manager.publish_manual(frames.manual_frame({"type": "task_update", "data": {"n": 14}}))

    assert await waiting(admin) == [11, 12, 13, 14]
    assert await waiting(of_host_1) == [11]


def test_a_user_connects_so_often_and_no_more() -> None:
    manager = hub_at()
    manager.limit(Limits(connections_per_user=1))
    first = connect(manager, access(1))
    with pytest.raises(TooManyConnectionsError, match="user"):
        connect(manager, access(1))
    manager.disconnect(first)
    connect(manager, access(1))


def test_an_address_connects_so_often_and_no_more_whoever_signs_in_there() -> None:
    manager = hub_at()
    manager.limit(Limits(connections_per_address=2))
    first, _ = connect(manager, access(1), address="192.0.2.1"), connect(manager, access(2), address="192.0.2.1")
    with pytest.raises(TooManyConnectionsError, match="address"):
        connect(manager, access(3), address="192.0.2.1")
    connect(manager, access(3), address="192.0.2.2")
    connect(manager, access(3))
    manager.disconnect(first)
    manager.disconnect(first)
    connect(manager, access(3), address="192.0.2.1")
    with pytest.raises(TooManyConnectionsError, match="address"):
        connect(manager, access(3), address="192.0.2.1")


def test_nobody_connects_before_the_log_was_read() -> None:
    with pytest.raises(RuntimeError):
        connect(ConnectionManager(), access(1))


async def test_nothing_is_written_before_the_greeting_and_nothing_is_missed_after_it() -> None:
    manager = hub_at(10)
    client = connect(manager, access(1))
    manager.publish(events(11, 12))
    assert await waiting(client) == []

    manager.greet(client, [frames.PONG], events(9, 10), 10)
    manager.publish(events(13))

    assert await everything(client) == [9, 10, 11, 12, 13]


async def test_a_client_that_was_ahead_gets_nothing_twice() -> None:
    manager = hub_at(10)
    ahead = join(manager, access(1), missed=events(11, 12))  # a faster instance told it so
    for sequence in (11, 12, 13):
        manager.publish(events(sequence))
    assert await everything(ahead) == [11, 12, 13]


async def test_a_message_by_hand_reaches_one_that_is_ahead_too() -> None:
    manager = hub_at(10)
    ahead = join(manager, access(1), missed=events(11, 12))
    manager.publish_manual(frames.manual_frame({"type": "task_update", "data": {"n": 99}}))
    manager.publish(events(11, 12, 13))
    assert await everything(ahead) == [11, 12, 99, 13]


def update(sequence: int, status: str, host_id: int | None = None) -> StoredEvent:
    data = {"n": sequence, "task_run_id": sequence, "status": status, "result_data": {}}
    return StoredEvent(Cursor(EPOCH, sequence), "task_update", host_id, data, datetime.now(UTC))


def progress(sequence: int, run: int) -> StoredEvent:
    return StoredEvent(Cursor(EPOCH, sequence), "task_progress", None, {"task_run_id": run}, datetime.now(UTC))


async def test_in_a_storm_each_user_gets_a_digest_of_what_it_may_see_and_failures_alone() -> None:
    manager = hub_at(10)
    admin, of_host_1 = join(manager, access(1)), join(manager, access(2, 1))
    successes = [update(sequence, "success", sequence % 2) for sequence in range(11, 31)]
    rest = [update(31, "failed", 1), update(32, "queued", 1), update(33, "queued", 1)]

    manager.publish([*successes, *rest], merge=True)

    assert await waiting(admin) == await waiting(of_host_1) == ["digest", 31, 32, 33]
    manager.publish([update(sequence, "success", sequence % 2) for sequence in range(34, 44)], merge=True)
    counts = []
    for client in (admin, of_host_1):
        ((batch),) = await client.next_batches()
        counts.append(orjson.loads(batch.frames[0].text)["data"]["events"])
    assert counts == [10, 5]


async def test_of_progress_that_goes_out_together_only_the_latest_is_written() -> None:
    manager = hub_at(10)
    fast, slow = join(manager, access(1)), join(manager, access(2), room=1)
    assert slow.blocked_since
    manager.publish([progress(11, 7), progress(12, 8), progress(13, 7)])
    manager.publish([progress(14, 7)])
    manager.publish([update(15, "success")])

    assert await waiting(fast) == ["task_progress"] * 3 + [15]
    assert await everything(slow) == ["task_progress"] * 2 + [15]


async def test_heartbeats_reach_who_has_everything_and_never_move_a_cursor_back() -> None:
    manager = hub_at(10)
    level, ahead = join(manager, access(1)), join(manager, access(2), missed=events(11, 12))
    joining = connect(manager, access(3))

    manager.heartbeat(PULSE)

    told = []
    for client in (level, ahead):
        batches = await client.next_batches()
        told.append(orjson.loads(batches[-1].frames[-1].text)["id"])
    assert told == ["k3f9-10", "k3f9-12"]
    assert not joining.waiting


async def test_a_client_whose_buffer_is_full_is_caught_up_later_and_harms_nobody() -> None:
    manager = hub_at()
    slow, fast = join(manager, access(1), room=100), join(manager, access(2))
    for sequence in range(11, 61):
        manager.publish(events(sequence))
        manager.heartbeat(PULSE)
    assert manager.lagging == 1
    assert len(slow.waiting) < 5

    assert [n for n in await everything(fast) if n != "heartbeat"] == list(range(11, 61))
    assert [n for n in await everything(slow) if n != "heartbeat"] == list(range(11, 61))
    assert manager.lagging == 0
    manager.publish(events(61))
    assert await waiting(slow) == [61]


async def test_a_client_that_lags_beyond_the_ring_is_caught_up_from_the_log() -> None:
    manager = hub_at()
    manager.limit(Limits(ring_size=5))
    slow = join(manager, access(1, 1), room=100)
    lagging: list[Any] = []
    manager.on_lag = lagging.append
    log = [event(sequence, sequence % 2) for sequence in range(11, 61)]
    for one in log:
        manager.publish([one])

    received = await waiting(slow)
    assert lagging == [slow]
    assert slow.behind is not None
    while len(received) < 25:
        manager.feed(slow, [one for one in log if one.cursor.sequence > slow.behind][:7])
        manager.catch_up(slow)
        received += await everything(slow)

    assert received == [sequence for sequence in range(11, 61) if sequence % 2]
    assert slow.behind is None


def test_one_whose_buffer_stays_full_is_closed() -> None:
    manager = hub_at()
    slow, fast = join(manager, access(1), room=10), join(manager, access(2))
    manager.publish(events(11))
    manager.close_slow(60)
    assert not slow.closing

    manager.close_slow(-1)

    assert slow.closing is CloseCode.TOO_SLOW
    assert fast.closing is None
    assert slow.waiting == ()
    assert manager.counters.closed == {CloseCode.TOO_SLOW: 1}
    assert len(manager) == 1


def test_the_first_reason_to_close_stands() -> None:
    one = join(hub_at(), access(1))
    one.close(CloseCode.SIGNED_OUT)
    one.close(CloseCode.RESTART)
    assert one.closing is CloseCode.SIGNED_OUT


def test_only_the_credential_that_ended_is_closed() -> None:
    manager = hub_at()
    by_session, by_token = join(manager, access(1)), join(manager, access(1), token=7)

    manager.end(TokenCredential(7))
    assert (by_session.closing, by_token.closing) == (None, CloseCode.SIGNED_OUT)


async def test_new_rights_filter_what_follows() -> None:
    manager = hub_at()
    one = join(manager, access(1, 1))
    manager.publish([event(11, 1)])
    manager.refresh({1: access(1, 2)}, ended=())
    manager.publish([event(12, 1), event(13, 2)])
    assert await waiting(one) == [11, 13]


def test_a_user_who_may_not_sign_in_any_more_is_closed_and_one_who_was_not_looked_at_stays() -> None:
    manager = hub_at()
    gone, unseen = join(manager, access(1)), join(manager, access(2))
    manager.refresh({1: None, 3: None}, ended=())
    assert (gone.closing, unseen.closing) == (CloseCode.FORBIDDEN, None)


async def test_another_history_is_told_to_everybody_and_followed() -> None:
    manager = hub_at(100)
    one, ahead = join(manager, access(1)), join(manager, access(2), missed=events(101, 102))
    blocked, joining = join(manager, access(3), room=1), connect(manager, access(4))
    await waiting(ahead)

    manager.resync(Cursor("other", 3))
    manager.publish([StoredEvent(Cursor("other", 4), "task_update", None, {"n": 4}, datetime.now(UTC))])

    assert await waiting(one) == await waiting(ahead) == ["resync_required", 4]
    assert blocked.closing is joining.closing is CloseCode.TOO_SLOW


def test_what_happens_to_a_client_that_has_left_is_nothing() -> None:
    manager = hub_at()
    gone = join(manager, access(1), room=1)
    manager.disconnect(gone)
    gone.resume_writing()
    gone.pause_writing()
    manager.catch_up(gone)
    assert not manager.feed(gone, events(11)), "whoever reads the log for it would go on for ever"
    manager.disconnect(gone)
    assert (len(manager), manager.lagging) == (0, 0)


class Fleet(RuleBasedStateMachine):
    """Clients of four users come, read when they like and go, while events happen and rights change."""

    def __init__(self) -> None:
        super().__init__()
        self.manager = hub_at(0)
        self.sequence = 0
        self.rights = {user: access(user, user % 3 + 1) for user in (1, 2, 3)} | {4: access(4)}
        self.clients: list[QueueClient] = []
        self.expected: dict[QueueClient, list[int]] = {}
        self.received: dict[QueueClient, list[int]] = {}

    @rule(user=st.sampled_from([1, 2, 3, 4]), room=st.sampled_from([1, 200, ROOM]))
    def connects(self, user: int, room: int) -> None:
        client = join(self.manager, self.rights[user], room)
        self.clients.append(client)
        self.expected[client], self.received[client] = [], []

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.clients.remove(client)
        self.manager.disconnect(client)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def reads(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.received[client] += asyncio.run(waiting(client))

    @rule(user=st.sampled_from([1, 2, 3]), host=st.integers(1, 3))
    def rights_change(self, user: int, host: int) -> None:
        self._read_everything()  # what a client lags by follows the rights that hold when it is caught up
        self.rights[user] = access(user, host)
        self.manager.refresh({user: self.rights[user]}, ended=())

    @rule(hosts=st.lists(st.sampled_from([None, 1, 2, 3]), min_size=1, max_size=4))
    def happens(self, hosts: list[int | None]) -> None:
        first = self.sequence + 1
        self.sequence += len(hosts)
        for client in self.clients:
            may_see = self.rights[client.user_id].may_see
            self.expected[client] += [first + place for place, host in enumerate(hosts) if may_see(host)]
        self.manager.publish([event(first + place, host) for place, host in enumerate(hosts)])

    @invariant()
    def nobody_got_anything_wrong(self) -> None:
        for client, received in self.received.items():
            assert received == self.expected[client][: len(received)]

    def teardown(self) -> None:
        self._read_everything()
        for client in self.clients:
            assert self.received[client] == self.expected[client]

    def _read_everything(self) -> None:
        for client in self.clients:
            self.received[client] += asyncio.run(everything(client))


TestFleet = Fleet.TestCase


def test_what_is_recent_is_told_from_memory_only_where_memory_is_complete() -> None:
    manager = hub_at(10)
    manager.limit(Limits(ring_size=2))
    manager.publish(events(11, 12, 13))

    assert [item.cursor.sequence for item in manager.recent(Cursor(EPOCH, 12)) or []] == [13]
    assert [item.cursor.sequence for item in manager.recent(Cursor(EPOCH, 11)) or []] == [12, 13]
    assert manager.recent(Cursor(EPOCH, 13)) == []
    assert manager.recent(Cursor(EPOCH, 10)) is None, "11 is forgotten"
    assert manager.recent(Cursor(EPOCH, 14)) is None, "another instance was faster"
    assert manager.recent(Cursor("other", 12)) is None


def test_an_instance_that_starts_remembers_what_was_just_before() -> None:
    manager = ConnectionManager()
    manager.begin(Cursor(EPOCH, 13), events(11, 13))

    assert [item.cursor.sequence for item in manager.recent(Cursor(EPOCH, 10)) or []] == [11, 13]
    assert [item.cursor.sequence for item in manager.recent(Cursor(EPOCH, 12)) or []] == [13]
    assert manager.recent(Cursor(EPOCH, 9)) is None, "what lay before 11 is not known"
