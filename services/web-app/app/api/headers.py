"""Headers that every answer carries, and the last net under every request."""

import logging
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems

log = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_STARTS = {"http.response.start", "websocket.accept", "websocket.http.response.start"}


class EdgeMiddleware:
    """Adds the security headers and `X-Vuls-Instance`, on the WebSocket's 101 too, and answers what nobody caught."""

    def __init__(self, app: ASGIApp, instance: str) -> None:
        self._app = app
        self._headers = {"X-Vuls-Instance": instance}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] in _STARTS:
                started = True
                self._add(scope, message)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            # As written: a path may hold line ends. The id is the one in the balancer's log and in the answer.
            log.exception(
                "A request to %r failed (request %r)", scope["path"], Headers(scope=scope).get("x-request-id")
            )
            if started or scope["type"] != "http":
                raise
            await problems.internal().response()(scope, receive, send_with_headers)

    def _add(self, scope: Scope, message: Message) -> None:
        raw: list[Any] = message.setdefault("headers", [])
        message["headers"] = raw = list(raw)
        headers = MutableHeaders(raw=raw)
        headers.update(self._headers)
        if message["type"] == "websocket.accept":
            return
        for name, value in SECURITY_HEADERS.items():
            headers.setdefault(name, value)
        if not scope["path"].startswith("/static/"):
            headers.setdefault("Cache-Control", "no-store")
