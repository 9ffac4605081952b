"""Compression: agreed upon where a client offers it, done once for all, and read from clients that use it."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.sync.client import unix_connect

from app.domain.envelope import StoredEvent
from tests.edge.browser import Browser, Feed
from tests.edge.conftest import World
from tests.edge.process import InstanceProcess, eventually

SignIn = Callable[..., Browser]
Happen = Callable[..., StoredEvent]


@pytest.fixture(scope="module")
def deflating(start_instance: Callable[..., InstanceProcess]) -> InstanceProcess:
    return start_instance(deflate=True)


@pytest.fixture
def browser(deflating: InstanceProcess, world: World, happen: Happen, sign_in: SignIn) -> Browser:
    assert world
    first = str(happen("first").cursor)
    with deflating.admin() as admin:
        eventually(lambda: admin.get("/status").json()["cursor"] == first)
    return sign_in("admin", deflating)


@contextmanager
def feed(browser: Browser, **offer: int | bool) -> Iterator[Feed]:
    """Open a socket that offers compression."""
    with unix_connect(
        str(browser.instance.http_socket),
        "ws://vuls.example/api/ws",
        additional_headers=browser.headers,
        compression=None,
        extensions=[ClientPerMessageDeflateFactory(**offer)],  # type: ignore[arg-type]  # as the offer has them
        close_timeout=2,
    ) as connection:
        yield Feed(connection)


def send(to: Feed, opcode: Opcode, data: bytes, *, fin: bool = True, compressed: bool = True) -> None:
    """Send a frame past the library."""
    wire = bytearray(Frame(opcode, data, fin=fin).serialize(mask=True))
    wire[0] |= 0x40 * compressed
    to.connection.socket.sendall(wire)


def test_events_come_compressed_and_whole_and_a_compressed_ping_is_answered(browser: Browser, happen: Happen) -> None:
    with feed(browser) as compressed, browser.feed() as plain:
        (agreed,) = compressed.connection.protocol.extensions
        assert isinstance(agreed, PerMessageDeflate)
        assert (agreed.remote_no_context_takeover, agreed.local_no_context_takeover) == (True, True)
        assert plain.connection.protocol.extensions == []
        assert compressed.next()["type"] == plain.next()["type"] == "hello"
        for number in range(20):
            happen(f"Scan {number} " + "x" * 300)
            assert compressed.next() == plain.next()
        compressed.connection.send("ping")
        compressed.pong()


def test_a_client_that_wants_a_smaller_window_gets_no_compression(browser: Browser, happen: Happen) -> None:
    with feed(browser, server_max_window_bits=9) as small:
        assert small.connection.protocol.extensions == []
        small.next()
        happen("now")
        assert small.next()["data"]["task_name"] == "now"


def test_a_compressed_message_in_fragments_is_one_message(browser: Browser) -> None:
    deflate = zlib.compressobj(wbits=-15)
    data = (deflate.compress(b"ping") + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
    with feed(browser) as compressed:
        compressed.next()
        send(compressed, Opcode.TEXT, data[:2], fin=False)
        send(compressed, Opcode.CONT, data[2:], compressed=False)
        compressed.pong()


@pytest.mark.parametrize(
    ("content", "code"),
    [(zlib.compress(b"x" * 10_000_000, wbits=-15), 1009), (b"\xff" * 20, 1002)],
    ids=["a bomb", "no deflate"],
)
def test_what_cannot_be_inflated_ends_the_socket(browser: Browser, content: bytes, code: int) -> None:
    with feed(browser) as compressed:
        compressed.next()
        send(compressed, Opcode.TEXT, content[:4000])
        assert compressed.close_code() == code
    assert "Traceback" not in browser.instance.log


def test_a_compressed_frame_that_nobody_agreed_to_ends_the_socket(browser: Browser) -> None:
    with browser.feed() as plain:
        plain.next()
        send(plain, Opcode.TEXT, b"\x2a\xc8\xcc\x4b\x07\x00")
        assert plain.close_code() == 1002
