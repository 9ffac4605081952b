"""`/api/ws`: the live feed over a WebSocket. Sign-in, Origin and limits come before the socket is accepted."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from fastapi import APIRouter, WebSocket
from sqlalchemy.exc import SQLAlchemyError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from app.api.auth import SignedIn, client_address, identify, not_signed_in, origin_allowed, origin_refused
from app.api.cursors import parse_cursor
from app.api.door import through_the_door
from app.api.first import until_first
from app.api.instance import Instance, get_instance
from app.api.problems import (
    ProblemError,
    database_unavailable,
    draining,
    is_database_away,
    not_ready,
    too_many_connections,
)
from app.domain.cursor import Cursor
from app.domain.throttle import counted_as
from app.realtime.client import CloseCode, QueueClient, SessionCredential
from app.realtime.hub import ConnectionManager, TooManyConnectionsError
from app.realtime.inbox import Inbox
from app.realtime.service import Greeting, HistoryChangedError
from app.realtime.socket_client import ADOPT, DEFLATES, DeflatedSocketClient, SocketClient

__all__ = ["ConnectionManager", "manager", "router"]

CLOSE_TIMEOUT = 5.0  # seconds that a client may take to read what it is closed with
Adopt = Callable[[SocketClient, int], bytes | None]
log = logging.getLogger(__name__)
router = APIRouter()

manager = ConnectionManager()  # of this process, which is one instance


@router.websocket("/api/ws")
async def websocket(socket: WebSocket) -> None:
    """Serve one socket until either side ends it.

    A refusal is an HTTP answer (401, 403, 429, 502, 503), which a browser shows as a failed connection; at a limit a
    page is accepted and closed with 4029 instead, so that it can tell its user. Where the server lets go of the
    transport, this only does the handshake.
    """
    instance = get_instance(socket)
    adopt: Adopt | None = socket.scope["extensions"].pop(ADOPT, None)
    try:
        async with through_the_door(instance):
            user, since = await _admit(socket, instance)
            client = _make_client(socket, instance, user, bare=adopt is not None)
            snapshot = socket.query_params.get("snapshot") == "true"
            greeting = await instance.realtime.join(client, user.access, since, snapshot=snapshot)
    except ProblemError as problem:
        await _refuse(socket, problem)
    except TooManyConnectionsError as error:
        await _turn_away(socket, too_many_connections(error.whose))
    except HistoryChangedError:
        await _refuse(socket, not_ready())
    except (SQLAlchemyError, OSError) as error:
        if not is_database_away(error):
            raise
        await _refuse(socket, database_unavailable())
    else:
        try:
            if await _accept(socket, user):
                await _feed(socket, instance, client, greeting, adopt)
            else:
                instance.realtime.manager.disconnect(client)
        except BaseException:
            instance.realtime.manager.disconnect(client)
            raise


async def _admit(socket: WebSocket, instance: Instance) -> tuple[SignedIn, Cursor | None]:
    if instance.realtime.draining:
        raise draining()
    if not instance.realtime.ready:
        raise not_ready()
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


def _make_client(socket: WebSocket, instance: Instance, user: SignedIn, *, bare: bool) -> SocketClient | QueueClient:
    realtime, user_id = instance.realtime, user.access.user_id
    address = counted_as(client_address(socket))
    if bare:
        kind = DeflatedSocketClient if socket.scope["extensions"][DEFLATES] else SocketClient
        return kind(user_id, user.credential, realtime.manager, realtime.wheel, address)
    return QueueClient(user_id, user.credential, realtime.manager, instance.settings.client_buffer, address)


async def _refuse(socket: WebSocket, problem: ProblemError) -> None:
    _count(socket, problem)
    with contextlib.suppress(WebSocketDisconnect, OSError):
        await socket.send_denial_response(problem.response())


async def _turn_away(socket: WebSocket, problem: ProblemError) -> None:
    """Refuse at a limit; a page, which cannot read an HTTP refusal, by a close code."""
    if "origin" not in socket.headers:
        await _refuse(socket, problem)
        return
    _count(socket, problem)
    with contextlib.suppress(WebSocketDisconnect, OSError):
        await socket.accept()
        await _close(socket, CloseCode.LIMIT)


def _count(socket: WebSocket, problem: ProblemError) -> None:
    get_instance(socket).realtime.manager.counters.refused[problem.code] += 1


async def _accept(socket: WebSocket, user: SignedIn) -> bool:
    """Answer the handshake; False when the client has hung up meanwhile."""
    try:
        await socket.accept()
    except (WebSocketDisconnect, OSError):
        return False
    log.info("WebSocket of %s opened from %s", user.access.name, client_address(socket))
    return True


async def _feed(
    socket: WebSocket, instance: Instance, client: SocketClient | QueueClient, greeting: Greeting, adopt: Adopt | None
) -> None:
    realtime = instance.realtime
    if isinstance(client, QueueClient):
        realtime.greet(client, greeting)
        await _serve(socket, client)
        realtime.manager.disconnect(client)
        return
    # From the accept to here nothing waits: the transport is as the handshake left it.
    early = adopt(client, instance.settings.client_buffer) if adopt is not None else None
    if early is None:
        realtime.manager.disconnect(client)
        return
    realtime.greet(client, greeting)
    client.data_received(early)


async def _serve(socket: WebSocket, client: QueueClient) -> None:
    """Read and write until one of the two ends, or the client must go."""
    try:
        await until_first(_read(socket, client), _write(socket, client), client.wait_closing())
    finally:
        await _close(socket, client.closing)


async def _read(socket: WebSocket, client: QueueClient) -> None:
    inbox = Inbox(client)
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            inbox.receive(message.get("text"))


async def _write(socket: WebSocket, client: QueueClient) -> None:
    with contextlib.suppress(WebSocketDisconnect, OSError):
        while batches := await client.next_batches():
            for batch in batches:
                for frame in batch.frames:
                    await socket.send_text(frame.text)


async def _close(socket: WebSocket, code: CloseCode | None) -> None:
    """Say goodbye. A client that does not read is left to the protocol class, which aborts it."""
    if code is None or socket.client_state is WebSocketState.DISCONNECTED:
        return
    with contextlib.suppress(WebSocketDisconnect, OSError, TimeoutError, RuntimeError):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await socket.close(code)
