"""Whether an instance says that it may get traffic, by how long its database takes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.api import readiness
from app.api.readiness import Readiness


def answering_after(seconds: Iterator[float]) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """Sessions of which each one's statement takes the next of these times."""

    async def execute(_: object) -> None:
        await asyncio.sleep(next(seconds))

    @asynccontextmanager
    async def session() -> AsyncIterator[Any]:
        yield SimpleNamespace(execute=execute)

    return session


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [((0, 0), None), ((9, 0), None), ((9, 9), "database_unavailable")],
    ids=["answers", "one stall", "away"],
)
def test_one_stall_is_no_reason_to_send_traffic_elsewhere(
    seconds: tuple[float, ...], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "TIMEOUT", 0.05)
    realtime = SimpleNamespace(
        reads_log=lambda within: within < 0,
        draining=False,
        subscriber=SimpleNamespace(connected=True),
        manager=SimpleNamespace(head=object()),
    )
    asked = Readiness(cast("Any", answering_after(iter(seconds))), cast("Any", realtime))
    state = asyncio.run(asked.state())
    assert (state.reason, state.ready) == (reason, reason is None)
