"""The gunicorn worker of an instance: uvicorn as this system needs it, with the admin socket beside it."""

import logging
import socket
import sys
from typing import Any, ClassVar

from fastapi import FastAPI
from gunicorn.arbiter import Arbiter
from uvicorn.config import Config
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

from app.api.admin import create_admin_app
from app.config import get_settings
from app.server.admin_server import admin_server
from app.server.logger import quiet, use_root
from app.server.protocol import AdoptableProtocol, SocketProtocol, UpgradingProtocol

GRACE = 15  # seconds for open requests and sockets; below gunicorn's graceful_timeout, which is below TimeoutStopSec


class InstanceServer(Server):
    """Serves the admin socket beside the public one, and lets the application say goodbye to its clients."""

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        # Not around `serve`: at its end that sends the process the signal that stopped it, and nothing runs after.
        async with admin_server(create_admin_app(self._app), get_settings().admin_socket):
            await super()._serve(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the live feed's clients, then everything else."""
        instance = getattr(self._app.state, "instance", None)
        if instance is not None:
            instance.realtime.stop()
        await super().shutdown(sockets)

    @property
    def _app(self) -> FastAPI:
        app = self.config.app
        assert isinstance(app, FastAPI)  # noqa: S101  (gunicorn loads `app.main:app`)
        return app


class InstanceWorker(UvicornWorker):  # type: ignore[misc]  # uvicorn-worker has no types
    """Serves the instance's Unix socket.

    Proxy headers are trusted: only the local proxy reaches the socket. Deflate is off: it would cost memory for every
    client and compress each event anew. `limit_concurrency` stays unset: it would count sockets against requests.
    """

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": UpgradingProtocol,
        "ws": AdoptableProtocol if get_settings().adopt_sockets else SocketProtocol,
        "ws_max_size": get_settings().max_message,
        "ws_per_message_deflate": False,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "proxy_headers": True,
        "forwarded_allow_ips": "*",
        "server_header": False,
        "access_log": False,
        "timeout_graceful_shutdown": GRACE,
    }
    config: Config

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (gunicorn's own)
        super().__init__(*args, **kwargs)
        for name in ("uvicorn.error", "uvicorn.access"):
            use_root(name)
        logging.getLogger("uvicorn.error").addFilter(quiet)

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = InstanceServer(config=self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
