"""Many clients in one event loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import uvloop

from tests.chaos.follower import Follower

T = TypeVar("T")
AT_ONCE = 40  # handshakes that are begun together


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the fast loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@asynccontextmanager
async def following(followers: Sequence[Follower], *, within: float = 120) -> AsyncIterator[None]:
    """Connect all of them, not all at once; inside they follow. Fails if they are not in after `within` seconds."""
    tasks = []
    try:
        for start in range(0, len(followers), AT_ONCE):
            batch = followers[start : start + AT_ONCE]
            tasks += [asyncio.create_task(follower.follow()) for follower in batch]
            await until(lambda batch=batch: all(follower.connected for follower in batch), within, "connected")  # type: ignore[misc]
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Lateness:
    """How many seconds late this loop itself was at worst: what clients in it hear, they hear as late."""

    worst = 0.0


@asynccontextmanager
async def own_lateness(every: float = 0.02) -> AsyncIterator[Lateness]:
    """Measure it while inside."""
    lateness = Lateness()

    async def look() -> None:
        while True:
            due = time.monotonic() + every
            await asyncio.sleep(every)
            lateness.worst = max(lateness.worst, time.monotonic() - due)

    looking = asyncio.create_task(look())
    try:
        yield lateness
    finally:
        looking.cancel()


async def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until `condition` holds and return how long that took; fail after `seconds`."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, f"not {what} within {seconds} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began
