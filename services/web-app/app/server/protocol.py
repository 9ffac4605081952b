"""uvicorn's protocols, made to let go: of clients that do not read, and of sockets whose handshake is done."""

import asyncio
from typing import Any, Protocol, cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from app.config import get_settings
from app.realtime.deflate import SharedDeflateFactory
from app.realtime.socket_client import ABORT, ADOPT, DEFLATES

LINGER = 5.0  # seconds a closed connection may take to read what is left
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
MAX_EARLY = 16 * 1024  # bytes that a client may send before its handshake is answered


class Adopter(Protocol):
    """Who takes a transport over."""

    def attach(self, transport: asyncio.Transport, connections: set[Any], limit: int) -> None:
        """Own `transport` from now on."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """Aborts a connection `LINGER` seconds after its end, and answers no frame before the handshake.

    `transport.close()` first waits until everything is written, which never happens to a client that does not read: it
    would hold its buffer, and the shutdown, for ever.
    """

    _early = b""

    def data_received(self, data: bytes) -> None:
        """Read the request; keep what follows it until the handshake is answered."""
        if hasattr(self, "scope") and self.conn.state is State.CONNECTING:
            self._early += data
            if len(self._early) > MAX_EARLY:
                self.transport.abort()
        else:
            super().data_received(data)
            if self.conn.handshake_exc is not None and not (self.handshake_initiated or self.transport.is_closing()):
                # A request that httptools takes and websockets does not, long lines for one: uvicorn would not answer.
                self.transport.write(_BAD_REQUEST)
                self.transport.close()

    async def send(self, message: ASGISendEvent) -> None:
        """Send, and know that a refusal in HTTP completes the handshake; uvicorn would log it as an error."""
        await super().send(message)
        if message["type"] == "websocket.accept":
            self._read_early()
        elif message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def _read_early(self) -> None:
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    async def run_asgi(self) -> None:
        """Serve the socket, and see that it really ends."""
        try:
            await super().run_asgi()
        finally:
            self._abort_later()

    def shutdown(self) -> None:
        """Close with 1012; called for every connection when the server stops."""
        super().shutdown()
        self._abort_later()

    def _abort_later(self) -> None:
        if self.transport is not None and not self.disconnected:
            self.loop.call_later(LINGER, self.transport.abort)


class _Released:
    """Stands in for the transport that was given away."""

    def close(self) -> None:
        """Do nothing: it is somebody else's."""

    def is_closing(self) -> bool:
        """Say that nothing can be written here any more."""
        return True


class AdoptableProtocol(SocketProtocol):
    """Does the handshake; then the transport can be taken away, and all of ASGI is freed.

    What the client sends before the answer to its handshake is kept as it came: frames belong to whoever adopts.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and offer compression where the settings allow it."""
        super().connection_made(transport)
        if get_settings().deflate:
            self.conn.available_extensions = [SharedDeflateFactory()]

    def data_received(self, data: bytes) -> None:
        """Read the request, and offer the transport with it."""
        fresh = not hasattr(self, "scope")
        super().data_received(data)
        if fresh and hasattr(self, "scope"):
            extensions = cast("dict[str, Any]", self.scope)["extensions"]
            extensions[DEFLATES] = bool(self.conn.extensions)
            # Whoever gets it takes it out: scope and protocol would otherwise wait for the garbage collection.
            extensions[ADOPT] = self.adopt

    def _read_early(self) -> None:
        """Leave it to whoever adopts."""

    def adopt(self, client: Adopter, limit: int) -> bytes | None:
        """Give the transport to `client`. No await may lie between accept and this.

        Its buffer is full at `limit` bytes. Return what the peer has sent already; None when it has left.
        """
        if self.disconnected or self.transport.is_closing():
            return None
        self.stop_keepalive()
        transport, early = self.transport, self._early
        transport.set_protocol(cast("asyncio.Protocol", client))
        self.connections.discard(self)
        client.attach(transport, self.connections, limit)
        self.transport, self.disconnected = cast("asyncio.Transport", _Released()), True
        self._early = b""
        return early


class UpgradingProtocol(HttpToolsProtocol):
    """Lets a response cut its connection off, and hands over what came in one piece with a handshake's request.

    RFC 6455 allows a client to send that early; uvicorn drops it. Nor does uvicorn give up a peer that never ends the
    head of its request: that is done here, after the time that a handshake may take.
    """

    _last = b""
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Wait for a request, but not for ever."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._head_is_here()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(get_settings().handshake_timeout, self.transport.close)

    def _head_is_here(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def on_headers_complete(self) -> None:
        """Go on with a request whose head is whole."""
        self._head_is_here()
        super().on_headers_complete()

    def _should_upgrade(self) -> bool:
        """Say whether a WebSocket is asked for, in the version of HTTP that can (RFC 6455, section 4.1)."""
        return super()._should_upgrade() and self.scope["http_version"] == "1.1"

    def on_message_begin(self) -> None:
        """Begin a request whose connection can be cut off, which `close` does not do to a peer that does not read."""
        super().on_message_begin()
        self._wait_for_head()
        cast("dict[str, Any]", self.scope)["extensions"] = {ABORT: self.transport.abort}

    def data_received(self, data: bytes) -> None:
        """Read HTTP, and give what follows an upgrade to the new protocol."""
        super().data_received(data)
        successor = self.transport.get_protocol()
        if successor is not self:
            _, _, rest = (self._last + data).partition(b"\r\n\r\n")
            if rest:
                cast("asyncio.Protocol", successor).data_received(rest)
        self._last = (self._last + data)[-3:]
