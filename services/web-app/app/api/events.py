"""`/api/events`: the live feed as server-sent events."""

import asyncio
import contextlib
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.auth import SignedIn, User
from app.api.cursors import parse_cursor
from app.api.instance import CurrentInstance, Instance
from app.api.problems import ProblemError, too_many_connections
from app.domain.cursor import Cursor
from app.realtime.client import QueueClient
from app.realtime.hub import TooManyConnectionsError

router = APIRouter(prefix="/api", tags=["notifications"])
Since = Annotated[str | None, Query(max_length=64, description="the cursor to continue from")]
LastEventId = Annotated[str | None, Header(max_length=64)]


class EventStream(Response):
    """Writes a client's frames until it hangs up, or must go."""

    media_type = "text/event-stream"

    def __init__(self, instance: Instance, user: SignedIn, since: Cursor | None) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._instance, self._user, self._since = instance, user, since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream. Refusals happen before its first byte."""
        realtime = self._instance.realtime
        client = QueueClient(
            self._user.access.user_id, self._user.credential, realtime.manager, self._instance.settings.client_buffer
        )
        try:
            greeting = await realtime.join(client, self._user.access, self._since)
        except TooManyConnectionsError:
            await too_many_connections().response()(scope, receive, send)
            return
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            realtime.greet(client, greeting)
            await self._stream(client, receive, send)
        finally:
            realtime.manager.disconnect(client)

    async def _stream(self, client: QueueClient, receive: Receive, send: Send) -> None:
        tasks = {
            asyncio.create_task(_write(client, send)),
            asyncio.create_task(_hung_up(receive)),
            asyncio.create_task(client.wait_closing()),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await send({"type": "http.response.body", "body": b"", "more_body": False})


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
    user: User, instance: CurrentInstance, since: Since = None, last_event_id: LastEventId = None
) -> EventStream:
    """Follow the events that one may see. A browser that comes back says where it was by `Last-Event-ID`."""
    if not instance.realtime.ready:
        raise ProblemError(503, "not_ready", "This instance takes no clients now.", headers={"Retry-After": "1"})
    return EventStream(instance, user, parse_cursor(last_event_id or since))
