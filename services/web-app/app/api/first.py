"""Several things at a time, until one of them ends."""

import asyncio
from collections.abc import Coroutine


async def until_first(*several: Coroutine[object, object, object]) -> None:
    """Run all of these, and stop the others as soon as one of them ends; their errors count for nothing."""
    tasks = {asyncio.create_task(one) for one in several}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
