"""The benchmark's client finds out when a server does not deliver."""

import socket
import struct
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.perf.fanout.client import Client, LossError
from tests.perf.fanout.message import SIZE, message

ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
PING, PONG = b"\x89\x02hi", b"\x8a\x82\0\0\0\0hi"
GOODBYE = b"\x88\x02" + struct.pack("!H", 1012)


def frame(text: str) -> bytes:
    return b"\x81\x7e" + struct.pack("!H", len(text)) + text.encode()


def frames(*numbers: int) -> bytes:
    return b"".join(frame(message(number)) for number in numbers)


class TwoClients:
    """A server that shakes hands with two clients, and then sends what the test says."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "socket")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen(2)
        self.sockets: list[socket.socket] = []
        tokens = folder / "tokens"
        tokens.write_text("one\ntwo\n")
        accepting = threading.Thread(target=self._accept)
        accepting.start()
        self.client = Client(self.address, tokens, None)
        self.client.connect(2)
        accepting.join(10)

    def _accept(self) -> None:
        for _ in range(2):
            connection, _ = self._listener.accept()
            connection.settimeout(10)
            while b"\r\n\r\n" not in connection.recv(4096):
                pass
            connection.sendall(ANSWER)
            self.sockets.append(connection)

    def measure(self, count: int, sent: Sequence[bytes], seconds: int = 1) -> int:
        """Expect `count` messages, send each client its bytes, and return the deliveries."""
        self.client.expect(0, count, seconds)
        for connection, data in zip(self.sockets, sent, strict=True):
            connection.sendall(data)
        self.client.wait(10)
        return self.client.report(count).deliveries

    def close(self) -> None:
        self.client.close()
        for connection in [*self.sockets, self._listener]:
            connection.close()


@pytest.fixture
def server() -> Iterator[TwoClients]:
    with tempfile.TemporaryDirectory() as folder:
        made = TwoClients(Path(folder))
        yield made
        made.close()


def test_all_messages_are_counted(server: TwoClients) -> None:
    assert server.measure(3, [frames(0, 1, 2)] * 2, seconds=10) == 6


def test_messages_in_one_frame_are_counted_each(server: TwoClients) -> None:
    assert server.measure(2, [frame(message(0) + "\n" + message(1))] * 2, seconds=10) == 4


def test_a_message_may_come_in_pieces(server: TwoClients) -> None:
    server.client.expect(0, 2, 10)
    for byte in frames(0, 1):
        for connection in server.sockets:
            connection.sendall(bytes([byte]))
    server.client.wait(20)
    arrivals = server.client.report(2)
    assert (arrivals.deliveries, arrivals.least_bytes, arrivals.most_bytes) == (4, SIZE, SIZE)


def test_a_ping_is_answered(server: TwoClients) -> None:
    assert server.measure(1, [PING + frames(0)] * 2, seconds=10) == 2
    assert [connection.recv(100) for connection in server.sockets] == [PONG, PONG]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frames(0, 2), id="lost"),
        pytest.param(frames(0, 1), id="the last one lost"),
        pytest.param(frames(0, 0, 1, 2), id="twice"),
        pytest.param(frames(0, 1, 2, 2), id="the last one twice"),
        pytest.param(frames(1, 0, 2), id="swapped"),
        pytest.param(frames(0, 1, 2) + frames(3), id="one too many"),
        pytest.param(frames(0, 1) + GOODBYE, id="closed"),
    ],
)
def test_a_client_that_does_not_get_exactly_its_messages_fails_the_run(server: TwoClients, sent: bytes) -> None:
    with pytest.raises(LossError):
        server.measure(3, [frames(0, 1, 2), sent])
