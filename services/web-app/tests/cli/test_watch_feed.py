"""How `vulsctl watch` comes back."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from websockets.exceptions import ConnectionClosedError

from app.cli import watch_feed
from app.cli.watch_cursor import CursorFile
from app.cli.watch_feed import STABLE_AFTER, Follower, Server
from app.cli.watch_lines import Lines

LONG = STABLE_AFTER + 1


class Enough(Exception):  # noqa: N818
    """The test has seen what it wanted."""


class Script(Server):
    """A server whose connections take and last as long as a test says, on the test's clock."""

    def __init__(self, *connections: tuple[float, float | None]) -> None:
        super().__init__("https://vuls.example", "vl_token", ssl.create_default_context())
        self.now = 1000.0
        self.waits: list[float] = []
        self._connections = list(connections)

    async def sleep(self, seconds: float) -> None:
        """Note how long the follower waits, and let that time pass."""
        self.waits.append(seconds)
        self.now += seconds

    def connection(self, cursor: str) -> Any:
        """Take so many seconds to connect; last so many, or fail where that is None."""
        assert cursor == "k3f9-7"

        @asynccontextmanager
        async def connected() -> Any:
            if not self._connections:
                raise Enough
            took, lasts = self._connections.pop(0)
            self.now += took
            if lasts is None:
                raise TimeoutError("timed out during opening handshake")
            messages = ['{"type": "hello", "id": "k3f9-9", "data": {}}']

            async def recv() -> str:
                if messages:
                    return messages.pop()
                self.now += lasts
                raise ConnectionClosedError(None, None)

            yield SimpleNamespace(recv=cast("Callable[[], Awaitable[str]]", recv))

        return connected()


@pytest.mark.parametrize(
    ("connections", "waits"),
    [
        ([(0, 1), (LONG, None), (LONG, None), (LONG, None)], [1, 2, 4, 8]),
        ([(LONG, 1), (LONG, 1), (LONG, 1)], [1, 2, 4]),
        ([(0, 1), (0, 1), (0, LONG), (0, 1)], [1, 2, 1, 2]),
    ],
    ids=["nobody answers for long", "connecting takes long", "one lasts"],
)
async def test_earlier_failures_are_forgotten_only_after_a_connection_that_lasted(
    monkeypatch: pytest.MonkeyPatch, connections: list[tuple[float, float | None]], waits: list[float]
) -> None:
    server = Script(*connections)
    monkeypatch.setattr(watch_feed, "time", SimpleNamespace(monotonic=lambda: server.now))
    monkeypatch.setattr(watch_feed, "random", SimpleNamespace(random=lambda: 0.0))
    monkeypatch.setattr(watch_feed, "asyncio", SimpleNamespace(sleep=server.sleep, timeout=asyncio.timeout))
    with pytest.raises(Enough):
        await Follower(server, CursorFile(None, "k3f9-7"), Lines(as_json=True), None).follow()
    assert server.waits == waits
