"""What stands between a browser and an instance: TLS, and a network that a test can break."""

import asyncio
import contextlib
import ssl
import subprocess
import threading
from pathlib import Path

_READ = 65_536
_WEBSOCKET = b"GET /api/ws"


def self_signed(folder: Path) -> ssl.SSLContext:
    """Make a certificate for localhost. The session cookie needs TLS, whoever signed it."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class Relay:
    """Takes TLS connections on a loopback port and passes them to the Unix socket `target`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.target: Path | None = None
        self.down = False  # nothing gets through
        self.sockets_down = False  # HTTP gets through, WebSockets do not
        self.handshakes = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context), self._loop
        ).result(10)
        self.origin = f"https://localhost:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Break every open connection, as a network does."""

        def abort() -> None:
            for writer in self._open:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(abort)

    def mend(self) -> None:
        """Let everything through again."""
        self.down = self.sockets_down = False

    def stop(self) -> None:
        """Close the port and everything that came through it."""
        self.cut()
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError):
                await self._relay(reader, writer)
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(_READ)
        is_socket = first.startswith(_WEBSOCKET)
        self.handshakes += is_socket
        if not first or self.target is None or self.down or (is_socket and self.sockets_down):
            return
        upstream, behind = await asyncio.open_unix_connection(str(self.target))
        self._open.add(behind)
        try:
            behind.write(first)
            await asyncio.wait(
                [asyncio.ensure_future(_copy(reader, behind)), asyncio.ensure_future(_copy(upstream, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._open.discard(behind)
            behind.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_READ):
            sink.write(data)
            await sink.drain()
