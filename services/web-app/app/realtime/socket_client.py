"""A client on a bare transport: the server did the handshake and let go of it.

Beside the transport, what stays for a connection is this object; there is no task, no queue and, while nothing is
incomplete, no parser.
"""

import asyncio
import struct
from typing import cast

from websockets.frames import Frame, Opcode

from app.realtime import reading
from app.realtime.client import Client, CloseCode, Credential, Home
from app.realtime.deflate import agreed
from app.realtime.frames import Batch
from app.realtime.inbox import Inbox
from app.realtime.wheel import Wheel

ABORT = "vuls.abort"  # ASGI extension of the same server: cuts an HTTP connection off
DEFLATES = "vuls.deflates"  # and this one: whether compression was agreed upon
ADOPT = "vuls.adopt"  # ASGI extension of a server that lets go of a transport; see app.server.protocol
GOODBYE_SECONDS = 5.0  # until a peer that does not read its close is cut off
FRAMES = 20  # pieces and control frames between two pings, for each message of a window that a client may send
_PING = bytes(Frame(Opcode.PING, b"").serialize(mask=False))


class SocketClient(Client, asyncio.Protocol):
    """One WebSocket. `attach` gives it its transport; until then it only waits."""

    __slots__ = ("_connections", "_heard", "_inbox", "_reader", "_transport", "_wheel")

    def __init__(
        self, user_id: int, credential: Credential, home: Home, wheel: Wheel, address: str | None = None
    ) -> None:
        super().__init__(user_id, credential, home, address)
        self._wheel = wheel
        self._transport: asyncio.Transport | None = None
        self._connections: set[asyncio.Protocol] | None = None
        self._inbox: Inbox | None = None
        self._reader: reading.Reader | None = None
        self._heard = 1  # reads and frames since the last ping

    def attach(self, transport: asyncio.Transport, connections: set[asyncio.Protocol], limit: int) -> None:
        """Take over `transport`, whose buffer is full at `limit` bytes; `connections` is what the server shuts down."""
        self._transport, self._connections = transport, connections
        transport.set_write_buffer_limits(high=limit)
        connections.add(self)
        self._wheel.add(self)
        if self.closing is not None:
            self._say_goodbye(self.closing)

    def write(self, batch: Batch) -> None:
        """Write to the transport, which joins what is written in one turn of the loop."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(batch.wire)

    def _new_reader(self) -> reading.Reader:
        return reading.Reader(self.home.limits.max_message)

    def check(self) -> None:
        """Ping the peer, or cut it off when nothing came from it since the last ping."""
        transport = cast("asyncio.Transport", self._transport)
        if self.blocked_since is not None or transport.is_closing():
            return
        if not self._heard:
            transport.abort()
            return
        self._heard = 0
        transport.write(_PING)

    def data_received(self, data: bytes) -> None:
        """Take what the peer sent."""
        if self._leaving or not data:
            return
        self._heard += 1
        reader = self._reader or self._new_reader()
        try:
            for received in reader.feed(data):
                self._heard += 1
                if self._heard > self.home.limits.messages_per_window * FRAMES:
                    self.close(CloseCode.ABUSE)
                    return
                self._receive(received)
                if self._leaving:
                    return
        except reading.BadFrame as bad:
            self._end(bad.code)
        else:
            self._reader = None if reader.idle else reader

    @property
    def _leaving(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def _receive(self, received: reading.Received) -> None:
        match received:
            case reading.Message(text):
                self._inbox = self._inbox or Inbox(self)
                self._inbox.receive(text)
            case reading.Ping(payload):
                self._control(Opcode.PONG, payload)
            case reading.Goodbye(payload):
                self.home.disconnect(self)
                self._hang_up(payload)

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's own)
        """Be forgotten by everyone."""
        self.home.disconnect(self)
        self._wheel.discard(self)
        if self._connections is not None:
            self._connections.discard(self)

    def shutdown(self) -> None:
        """Close with 1012; called by the server for every connection it knows when it stops."""
        self.close(CloseCode.RESTART)

    def _say_goodbye(self, code: CloseCode) -> None:
        if self._transport is not None:
            self._hang_up(struct.pack("!H", code))

    def _end(self, code: int) -> None:
        """End the connection with a code of the WebSocket protocol itself."""
        self.home.disconnect(self)
        self._hang_up(struct.pack("!H", code))

    def _hang_up(self, payload: bytes) -> None:
        transport = cast("asyncio.Transport", self._transport)
        self._control(Opcode.CLOSE, payload)
        transport.close()
        # It first waits until everything is written, which never happens to a peer that does not read.
        asyncio.get_running_loop().call_later(GOODBYE_SECONDS, transport.abort)

    def _control(self, opcode: Opcode, payload: bytes) -> None:
        transport = cast("asyncio.Transport", self._transport)
        # A peer that floods with pings and reads no answer fills its own buffer only.
        if not transport.is_closing() and (opcode is Opcode.CLOSE or self.blocked_since is None):
            transport.write(bytes(Frame(opcode, payload).serialize(mask=False)))


class DeflatedSocketClient(SocketClient):
    """One WebSocket whose peer agreed to compression (`app.realtime.deflate`)."""

    __slots__ = ()

    def write(self, batch: Batch) -> None:
        """Write what was compressed for all such clients."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(batch.deflated)

    def _new_reader(self) -> reading.Reader:
        return reading.Reader(self.home.limits.max_message, agreed())
