"""`/api/events`: the live feed as server-sent events."""

import asyncio
import contextlib
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from app.api.auth import SignedIn, User, client_address
from app.api.cursors import parse_cursor
from app.api.door import through_the_door
from app.api.first import until_first
from app.api.instance import CurrentInstance, Instance
from app.api.problems import ProblemError, draining, not_ready, too_many_connections
from app.domain.cursor import Cursor
from app.domain.throttle import counted_as
from app.realtime.client import QueueClient
from app.realtime.hub import TooManyConnectionsError
from app.realtime.service import HistoryChangedError
from app.realtime.socket_client import ABORT, GOODBYE_SECONDS

router = APIRouter(prefix="/api", tags=["notifications"])
Since = Annotated[str | None, Query(max_length=64, description="the cursor to continue from")]
LastEventId = Annotated[str | None, Header(max_length=64)]
Snapshot = Annotated[bool, Query(description="begin with the state where there is no cursor to continue from")]


class EventStream(Response):
    """Writes a client's frames until it hangs up, or must go."""

    media_type = "text/event-stream"

    def __init__(self, instance: Instance, user: SignedIn, since: Cursor | None, *, snapshot: bool) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._instance, self._user, self._since, self._snapshot = instance, user, since, snapshot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream. Refusals happen before its first byte."""
        realtime = self._instance.realtime
        user, limit = self._user, self._instance.settings.client_buffer
        address = counted_as(client_address(HTTPConnection(scope)))
        client = QueueClient(user.access.user_id, user.credential, realtime.manager, limit, address)
        try:
            async with through_the_door(self._instance):
                greeting = await realtime.join(client, user.access, self._since, snapshot=self._snapshot)
        except ProblemError as problem:
            await problem.response()(scope, receive, send)
            return
        except TooManyConnectionsError as error:
            await too_many_connections(error.whose).response()(scope, receive, send)
            return
        except (HistoryChangedError, TimeoutError):
            await not_ready().response()(scope, receive, send)
            return
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            realtime.greet(client, greeting)
            if not await self._stream(client, receive, send):
                scope["extensions"][ABORT]()
                await _hung_up(receive)
        finally:
            realtime.manager.disconnect(client)

    async def _stream(self, client: QueueClient, receive: Receive, send: Send) -> bool:
        """Write until either side ends it; False when the client did not even read the end."""
        await until_first(_write(client, send), _hung_up(receive), client.wait_closing())
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                with contextlib.suppress(OSError):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            return False
        return True


async def _write(client: QueueClient, send: Send) -> None:
    with contextlib.suppress(OSError):
        while batches := await client.next_batches():
            body = b"".join(batch.sse for batch in batches)
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@router.get(
    "/events",
    response_class=Response,
    responses={200: {"description": "one message a `data:` line", "content": {"text/event-stream": {}}}},
)
async def events(
    user: User,
    instance: CurrentInstance,
    since: Since = None,
    last_event_id: LastEventId = None,
    *,
    snapshot: Snapshot = False,
) -> EventStream:
    """Follow the events that one may see. A browser that comes back says where it was by `Last-Event-ID`."""
    if instance.realtime.draining:
        raise draining()
    if not instance.realtime.ready:
        raise not_ready()
    return EventStream(instance, user, parse_cursor(last_event_id or since), snapshot=snapshot)
