"""A WebSocket of a test that is no coroutine.

The library's client for threads reads and writes a TLS connection in two threads at once, which OpenSSL does not
allow: about three handshakes in a thousand were never answered (websockets 17.4). The client for asyncio runs here in a
loop of its own.

A test reads when it wants to; what comes meanwhile is all taken. The library's queue of 16 messages would be full in
the middle of a scan, and the answers to pings would wait behind it until either side gives the other one up.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin


class Socket:
    """An open WebSocket."""

    def __init__(self, portal: BlockingPortal, connection: ClientConnection) -> None:
        self._portal = portal
        self._connection = connection

    def recv(self, timeout: float) -> str:
        """Return the next text.

        Raises:
            TimeoutError: none came within `timeout` seconds.
            websockets.exceptions.ConnectionClosed: none will come.
        """

        async def receive() -> str:
            with anyio.fail_after(timeout):
                return str(await self._connection.recv())

        return self._portal.call(receive)

    def set_cookies(self) -> dict[str, str]:
        """Return the cookies that the answer to the handshake set."""
        assert self._connection.response is not None
        jar = SimpleCookie()
        for line in self._connection.response.headers.get_all("Set-Cookie"):
            jar.load(line)
        return {name: cookie.value for name, cookie in jar.items()}

    def send(self, text: str) -> None:
        """Send a text."""
        self._portal.call(self._connection.send, text)

    def close(self) -> None:
        """Close in the orderly way."""
        self._portal.call(self._connection.close)


@contextmanager
def open_socket(
    url: str, trust: ssl.SSLContext, origin: str | None, headers: dict[str, str], address: str | None = None
) -> Iterator[Socket]:
    """Open a WebSocket, and close it behind the block. The name in the URL need not resolve where an address is given.

    Raises:
        websockets.exceptions.InvalidStatus: the handshake was refused.
    """
    listed = Origin(origin) if origin else None
    with start_blocking_portal() as portal:
        parts = urlsplit(url)
        opening = connect(
            url,
            host=address or parts.hostname,
            port=parts.port or 443,
            ssl=trust,
            origin=listed,
            additional_headers=headers,
            max_queue=None,
            ping_interval=None,
            open_timeout=30,
        )
        with portal.wrap_async_context_manager(opening) as connection:
            yield Socket(portal, connection)
