"""The Unix socket, the server on it, and what systemd wants to know."""

import os
import socket
import stat
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from executor.feed import Feed
from executor.settings import ConfigurationError

GRACE_SECONDS = 3
SOCKET_UMASK = 0o117  # 0660: the owner and the clients' group


def bind(path: Path) -> socket.socket:
    """Return a socket bound to `path`, in place of one that a dead process left. Raises ConfigurationError.

    uvicorn would bind it itself, but open to the world.
    """
    try:
        if path.exists():
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise ConfigurationError(f"{path} is in the way: it is no socket")
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        umask = os.umask(SOCKET_UMASK)
        try:
            listener.bind(str(path))
        finally:
            os.umask(umask)
    except OSError as error:
        raise ConfigurationError(f"cannot bind {path}: {error.strerror or error}") from error
    return listener


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens where it did not ask."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall(state.encode())


class Server(uvicorn.Server):
    """uvicorn that tells systemd when it is ready, and ends event streams before it waits for them."""

    def __init__(self, app: ASGIApp, feed: Feed, path: Path) -> None:
        # No server log: each job's moves are logged, and a worker asks several times a second.
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="on",
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._feed = feed
        self._path = path

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then report readiness."""
        await super().startup(sockets)
        notify("READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop taking requests, end the streams, let answers go out."""
        notify("STOPPING=1")
        self._path.unlink(missing_ok=True)
        self._feed.close()
        await super().shutdown(sockets)
