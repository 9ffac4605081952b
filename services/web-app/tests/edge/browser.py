"""A browser's side of HTTP and the WebSocket, without the browser."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from jsonschema import Draft202012Validator
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, unix_connect

from app.domain.messages import json_schemas
from tests.edge.process import ORIGIN, InstanceProcess

_VALIDATORS = {name: Draft202012Validator(schema) for name, schema in json_schemas().items()}


def checked(text: str) -> dict[str, Any]:
    """Return a message that fits the schema of its type."""
    message: dict[str, Any] = json.loads(text)
    _VALIDATORS[message["type"]].validate(message)
    return message


class Feed:
    """One open socket. Every message is checked against the protocol's schemas."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def next(self, timeout: float = 30) -> dict[str, Any]:
        """Return the next message that is no heartbeat, within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            message = checked(str(self.connection.recv(deadline - time.monotonic())))
            if message["type"] != "heartbeat":
                return message

    def heartbeat(self, timeout: float = 30) -> dict[str, Any]:
        """Return the next heartbeat, whatever comes before it."""
        while True:
            message = checked(str(self.connection.recv(timeout)))
            if message["type"] == "heartbeat":
                return message

    def pong(self, timeout: float = 30) -> None:
        """Read the answer to a ping; only heartbeats may come before it."""
        while (text := str(self.connection.recv(timeout))) != "pong":
            assert checked(text)["type"] == "heartbeat", text

    def updates_until(self, task_name: str, timeout: float = 30) -> list[dict[str, Any]]:
        """Return the events up to and including the one of this name."""
        found = []
        while True:
            message = self.next(timeout)
            if message["type"] == "task_update":
                found.append(message)
                if message["data"]["task_name"] == task_name:
                    return found

    def _read_on(self, timeout: float) -> None:
        while True:
            self.connection.recv(timeout)

    def close_code(self, timeout: float = 10) -> int:
        """Read until the server closes, and return its code."""
        with pytest.raises(ConnectionClosed) as closed:
            self._read_on(timeout)
        assert closed.value.rcvd is not None, "the connection ended without a close frame"
        return closed.value.rcvd.code


class Browser:
    """A signed-in browser or tool: sends its cookie or token, and the Origin, with every request."""

    def __init__(self, instance: InstanceProcess, *, origin: str | None = ORIGIN) -> None:
        self.instance = instance
        self.headers: dict[str, str] = {"Origin": origin} if origin else {}
        self.http = instance.client(**self.headers)

    def login(self, name: str, password: str, **headers: str) -> httpx.Response:
        """Sign in and keep the cookie as a browser would over TLS."""
        body = {"username": name, "password": password}
        response = self.http.post("/api/auth/login", json=body, headers=headers)
        if "set-cookie" in response.headers:
            self.use_cookie(response.headers["set-cookie"].partition(";")[0])
        return response

    def use_cookie(self, cookie: str) -> None:
        """Send this cookie from now on."""
        self.headers["Cookie"] = cookie
        self.http.headers["Cookie"] = cookie

    def use_token(self, token: str) -> None:
        """Send this bearer token from now on."""
        self.headers["Authorization"] = f"Bearer {token}"
        self.http.headers["Authorization"] = f"Bearer {token}"

    @contextmanager
    def feed(
        self, since: str | None = None, *, snapshot: bool = False, headers: Mapping[str, str] | None = None
    ) -> Iterator[Feed]:
        """Open a socket, from a cursor on or from now on."""
        asked = {"since": since, "snapshot": "true" if snapshot else None}
        query = "?" + urlencode({name: value for name, value in asked.items() if value is not None})
        with unix_connect(
            str(self.instance.http_socket),
            f"ws://vuls.example/api/ws{query}",
            additional_headers=self.headers | dict(headers or {}),
            compression=None,
            open_timeout=10,
            close_timeout=2,
        ) as connection:
            yield Feed(connection)


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Return the problem that an answer must be."""
    body: dict[str, Any] = response.json()
    assert (response.status_code, body.get("code")) == (status, code), body
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == status
    assert {"type", "title", "detail"} <= body.keys()
    return body
