"""The API key, before anything else of a request is looked at."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from executor.problems import Unauthorized


class ApiKey:
    """ASGI middleware: without the right X-API-Key a request gets 401, whatever it asks for."""

    def __init__(self, app: ASGIApp, key: bytes) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] == "http":
            given = Headers(scope=scope).getlist("x-api-key")
            if len(given) != 1 or not hmac.compare_digest(given[0].encode("latin-1"), self._key):
                await Unauthorized("The X-API-Key header is missing or wrong.").response()(scope, receive, send)
                return
        await self._app(scope, receive, send)
