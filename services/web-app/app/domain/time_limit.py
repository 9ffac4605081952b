"""How long a scan may take: as its task says, and never longer than its worker lets any."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import Field

TimeLimit = Annotated[int, Field(ge=1, le=1440, description="minutes")]


@dataclass(frozen=True, slots=True)
class Allowance:
    """The `seconds` that are left to an attempt; `minutes` is the whole limit, the task's or the worker's own."""

    seconds: float
    minutes: int
    by_task: bool


def allowance(limit: int | None, spent: timedelta, deadline: int) -> Allowance:
    """Return what is left to an attempt that has gone on for `spent`.

    `limit` is its task's, in minutes, and counts from the attempt's start. `deadline` is the worker's, in seconds, and
    counts from when this worker took the attempt.
    """
    if limit is not None:
        left = max(limit * 60 - spent.total_seconds(), 0.0)
        if left < deadline:
            return Allowance(left, limit, by_task=True)
    return Allowance(deadline, deadline // 60, by_task=False)
