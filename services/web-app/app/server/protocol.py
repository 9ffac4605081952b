"""uvicorn's WebSocket protocol, made to let go of clients that do not read."""

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LINGER = 5.0  # seconds a closed connection may take to read what is left
MAX_MESSAGE = 4096  # bytes; longer ones are refused with 1009


class SocketProtocol(WebSocketsSansIOProtocol):
    """Aborts a connection `LINGER` seconds after its end.

    `transport.close()` first waits until everything is written, which never happens to a client that does not read: it
    would hold its buffer, and the shutdown, for ever.
    """

    async def send(self, message: ASGISendEvent) -> None:
        """Send, and know that a refusal in HTTP completes the handshake; uvicorn would log it as an error."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

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
