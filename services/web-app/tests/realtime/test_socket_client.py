"""A client on a bare transport: pings, and how it ends. The transport is a stand-in that remembers."""

import asyncio
from typing import Any

import pytest

from app.domain.cursor import Cursor
from app.domain.permissions import Access, Role
from app.realtime import frames, socket_client
from app.realtime.client import CloseCode, SessionCredential
from app.realtime.hub import ConnectionManager
from app.realtime.socket_client import SocketClient
from app.realtime.wheel import TURN, Wheel

HEAD = Cursor("k3f9", 7)
PING, PONG = b"\x89\x00", b"\x8a\x80\x00\x00\x00\x00"


class Transport(asyncio.Transport):
    """Remembers what is written, and how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.ended: list[str] = []
        self.aborted = asyncio.Event()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take note of nothing."""

    def write(self, data: Any) -> None:
        assert not self.ended, "written to a transport that is closing"
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended.append("closed")

    def abort(self) -> None:
        self.ended.append("aborted")
        self.aborted.set()


class Connected:
    """A client, its transport and what knows it."""

    def __init__(self) -> None:
        self.manager = ConnectionManager()
        self.manager.begin(HEAD)
        self.wheel = Wheel()
        self.connections: set[Any] = set()
        self.transport = Transport()
        self.client = SocketClient(1, SessionCredential(b"x"), self.manager, self.wheel)
        self.manager.connect(self.client, Access(1, "admin", Role.ADMIN, None))

    def attach(self) -> None:
        self.client.attach(self.transport, self.connections, 1000)
        self.manager.greet(self.client, [frames.hello(HEAD, "i", "r")], (), HEAD.sequence)
        self.transport.written.clear()

    def turn(self) -> None:
        for _ in range(TURN):
            self.wheel.advance()


@pytest.fixture
def connected() -> Connected:
    made = Connected()
    made.attach()
    return made


def test_a_socket_is_pinged_once_a_turn_and_stays_while_it_answers(connected: Connected) -> None:
    for _ in range(3):
        connected.turn()
        assert connected.transport.written == [PING]
        connected.transport.written.clear()
        connected.client.data_received(PONG)


def test_a_socket_that_answers_no_ping_is_cut_off(connected: Connected) -> None:
    connected.turn()
    connected.turn()
    assert connected.transport.ended == ["aborted"]


def test_one_with_a_full_buffer_is_left_to_its_own_deadline(connected: Connected) -> None:
    connected.client.pause_writing()
    connected.turn()
    connected.turn()
    assert not connected.transport.written
    assert not connected.transport.ended


def test_a_flood_of_pings_fills_nothing_while_no_answer_is_read(connected: Connected) -> None:
    connected.client.pause_writing()
    connected.client.data_received(b"\x89\x80\x00\x00\x00\x00" * 1000)
    assert not connected.transport.written


async def test_a_client_that_must_go_is_told_why_and_cut_off_in_time(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_client, "GOODBYE_SECONDS", 0.01)
    connected.client.close(CloseCode.SIGNED_OUT)
    assert connected.transport.written == [b"\x88\x02\x0f\xa1"]
    assert len(connected.manager) == 0
    await asyncio.wait_for(connected.transport.aborted.wait(), 5)
    assert connected.transport.ended == ["closed", "aborted"]


async def test_one_that_had_to_go_before_its_handshake_was_done_is_told_when_it_is() -> None:
    made = Connected()
    made.client.close(CloseCode.SIGNED_OUT)
    made.client.attach(made.transport, made.connections, 1000)
    made.manager.greet(made.client, [frames.hello(HEAD, "i", "r")], (), HEAD.sequence)
    assert made.transport.written == [b"\x88\x02\x0f\xa1"]


async def test_after_the_end_nothing_is_written_and_nobody_knows_it(connected: Connected) -> None:
    connected.client.data_received(b"\x88\x80\x00\x00\x00\x00" + b"\x89\x80\x00\x00\x00\x00")
    assert connected.transport.written == [b"\x88\x00"]
    connected.manager.heartbeat(frames.Pulse("live", 0.0))
    connected.client.shutdown()
    connected.client.connection_lost(None)
    connected.turn()
    assert connected.transport.written == [b"\x88\x00"]
    assert not connected.connections
    assert len(connected.manager) == 0


def test_the_wheel_spreads_its_members() -> None:
    checked: list[int] = []

    class Member:
        def __init__(self, number: int) -> None:
            self.number = number

        def check(self) -> None:
            checked.append(self.number)

    turning = Wheel()
    for number in range(2 * TURN):
        turning.add(Member(number))
    turning.advance()
    assert len(checked) == 2
    for _ in range(TURN - 1):
        turning.advance()
    assert sorted(checked) == list(range(2 * TURN))


@pytest.mark.parametrize(
    "frame", [PONG, b"\x89\x80\x00\x00\x00\x00", b"\x01\x80\x00\x00\x00\x00"], ids=["pong", "ping", "part"]
)
async def test_a_flood_of_frames_that_are_no_messages_ends_the_connection(connected: Connected, frame: bytes) -> None:
    connected.client.data_received(PONG * 500)
    connected.turn()
    assert not connected.transport.ended, "so many are nothing unusual"
    following = frame if frame[0] != 1 else b"\x00" + frame[1:]
    connected.client.data_received(frame + following * 100_000)
    assert connected.client.closing is CloseCode.ABUSE
    assert connected.transport.ended == ["closed"]
