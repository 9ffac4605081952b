"""The door: how many clients that join may use the database at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.api.instance import Instance
from app.api.problems import not_ready


@asynccontextmanager
async def through_the_door(instance: Instance) -> AsyncIterator[None]:
    """Let few handshakes at the database at a time: half of their time is for waiting, and half for the work.

    When a crowd comes back after a fault, those that wait in vain have cost nothing. All let in at once would all run
    out of time in the middle of their work, and come back, and nobody would ever get in.

    Raises:
        ProblemError: 503, too many wait.
        TimeoutError: the work takes too long.
    """
    half = instance.settings.handshake_timeout / 2
    try:
        async with asyncio.timeout(half):
            await instance.door.acquire()
    except TimeoutError as error:
        raise not_ready() from error
    try:
        async with asyncio.timeout(half):
            yield
    finally:
        instance.door.release()
