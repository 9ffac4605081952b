"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = 30.0, what: str = "the condition") -> T:
    """Return the first truthy value of `condition`; fail after `seconds`."""
    ends_at = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > ends_at:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(0.02)
    return value
