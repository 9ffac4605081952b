"""Serves the admin application on its root-only Unix socket, in the instance's own event loop."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from uvicorn.config import Config
from uvicorn.server import Server

MODE = 0o600
log = logging.getLogger(__name__)


class _QuietServer(Server):
    """A second server in the loop: signals are the first one's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


@asynccontextmanager
async def admin_server(app: FastAPI, path: str) -> AsyncIterator[None]:
    """Listen on `path` while inside.

    Raises:
        OSError: the socket cannot be made; the folder is the service manager's work.
    """
    config = Config(app, log_config=None, access_log=False, ws="none", lifespan="off", timeout_graceful_shutdown=1)
    server = _QuietServer(config)
    listener = _listen(path)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="admin server")
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait([task])
        _remove(path)


def _listen(path: str) -> socket.socket:
    _remove(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~MODE)  # the socket is never wider, not even for a moment
    try:
        listener.bind(path)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    listener.listen(16)
    listener.setblocking(False)
    return listener


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)
