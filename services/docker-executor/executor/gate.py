"""What a request must have before anything else of it is looked at: the API key, and a body of a sane size."""

import hmac
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from executor.problems import Problem, TooLarge, Unauthorized


class Gate:
    """ASGI middleware: 401 without the right X-API-Key, 413 for a body that says it is too large.

    `larger` has the limits of the paths that may have more. A body that does not say its size is cut off by FastAPI
    (`max_body_size`).
    """

    def __init__(self, app: ASGIApp, key: bytes, max_body: int, larger: Mapping[str, int]) -> None:
        self._app = app
        self._key = key
        self._max_body = max_body
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] == "http" and (problem := self._refuse(scope["path"], Headers(scope=scope))):
            await problem.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refuse(self, path: str, headers: Headers) -> Problem | None:
        given = headers.getlist("x-api-key")
        if len(given) != 1 or not hmac.compare_digest(given[0].encode("latin-1"), self._key):
            return Unauthorized("The X-API-Key header is missing or wrong.")
        # The HTTP parser has checked that it is a number.
        limit = self._larger.get(path, self._max_body)
        if int(headers.get("content-length", "0")) > limit:
            return TooLarge(f"A request has no more than {limit} bytes here.")
        return None
