"""`/api/ws`: the live feed over a WebSocket. Sign-in, Origin and limits come before the socket is accepted."""

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack

from fastapi import APIRouter, WebSocket
from sqlalchemy.exc import SQLAlchemyError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from app.api.auth import SignedIn, client_address, identify, not_signed_in, origin_allowed, origin_refused
from app.api.cursors import parse_cursor
from app.api.instance import Instance, get_instance
from app.api.problems import ProblemError, database_unavailable, is_database_away
from app.domain.cursor import Cursor
from app.realtime.client import Client, CloseCode, SessionCredential
from app.realtime.hub import ConnectionManager, TooManyConnectionsError
from app.realtime.inbox import Inbox

__all__ = ["ConnectionManager", "manager", "router"]

CLOSE_TIMEOUT = 5.0  # seconds that a client may take to read what it is closed with
log = logging.getLogger(__name__)
router = APIRouter()

manager = ConnectionManager()  # of this process, which is one instance


@router.websocket("/api/ws")
async def websocket(socket: WebSocket) -> None:
    """Serve one socket until either side ends it.

    A refusal is an HTTP answer (401, 403, 429, 503), which a browser shows as a failed connection.
    """
    instance = get_instance(socket)
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(instance.settings.handshake_timeout):
                user, since = await _admit(socket, instance)
                join = instance.realtime.join(user.access, user.credential, since)
                client = await stack.enter_async_context(join)
        except ProblemError as problem:
            await _refuse(socket, problem)
        except TooManyConnectionsError:
            detail = "You have as many connections as one user may have. Close some tabs."
            await _refuse(socket, ProblemError(429, "too_many_connections", detail, headers={"Retry-After": "30"}))
        except (SQLAlchemyError, OSError) as error:
            if not is_database_away(error):
                raise
            await _refuse(socket, database_unavailable())
        else:
            with contextlib.suppress(WebSocketDisconnect, OSError):  # it may hang up at any moment
                await socket.accept()
                log.info("WebSocket of %s opened from %s", user.access.name, client_address(socket))
                await _serve(socket, client)


async def _admit(socket: WebSocket, instance: Instance) -> tuple[SignedIn, Cursor | None]:
    if not instance.realtime.ready:
        raise ProblemError(503, "not_ready", "This instance takes no clients now.", headers={"Retry-After": "1"})
    listed = origin_allowed(socket, instance.settings)
    if "origin" in socket.headers and not listed:
        raise origin_refused()
    async with instance.sessions() as db:
        user = await identify(socket, db, instance.settings)
    if user is None:
        raise not_signed_in()
    if isinstance(user.credential, SessionCredential) and not listed:
        raise origin_refused()
    return user, parse_cursor(socket.query_params.get("since"))


async def _refuse(socket: WebSocket, problem: ProblemError) -> None:
    with contextlib.suppress(WebSocketDisconnect, OSError):
        await socket.send_denial_response(problem.response())


async def _serve(socket: WebSocket, client: Client) -> None:
    """Read and write until one of the two ends, or the client must go."""
    tasks = {
        asyncio.create_task(_read(socket, client)),
        asyncio.create_task(_write(socket, client)),
        asyncio.create_task(client.wait_closing()),
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _close(socket, client.closing)


async def _read(socket: WebSocket, client: Client) -> None:
    inbox = Inbox(client)
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            inbox.receive(message.get("text"))


async def _write(socket: WebSocket, client: Client) -> None:
    with contextlib.suppress(WebSocketDisconnect, OSError):
        while batch := await client.next_frames():
            for frame in batch:
                await socket.send_text(frame.text)


async def _close(socket: WebSocket, code: CloseCode | None) -> None:
    """Say goodbye. A client that does not read is left to the protocol class, which aborts it."""
    if code is None or socket.client_state is WebSocketState.DISCONNECTED:
        return
    with contextlib.suppress(WebSocketDisconnect, OSError, TimeoutError, RuntimeError):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await socket.close(code)
