"""The naive loop, as tutorials have it: `await send_text(json.dumps(...))` for one client after the other."""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# (the checker of tests/ has the controller's packages)

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

clients: list[WebSocket] = []


async def follow(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Send every line of the control connection to every client."""
    while line := await reader.readline():
        message = json.loads(line)
        for client in clients.copy():
            await client.send_text(json.dumps(message))


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Listen for the benchmark's driver."""
    async with await asyncio.start_unix_server(follow, os.environ["CONTROL"]):
        yield


app = FastAPI(lifespan=lifespan)


@app.websocket("/api/ws")
async def connect(socket: WebSocket) -> None:
    """Keep a client until it leaves."""
    await socket.accept()
    clients.append(socket)
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        clients.remove(socket)
