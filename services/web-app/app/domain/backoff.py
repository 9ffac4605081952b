"""How long to wait before the next try."""

import random
from collections.abc import Callable, Iterator


def delays(
    first: float, greatest: float, jitter: float = 0.2, chance: Callable[[], float] = random.random
) -> Iterator[float]:
    """Yield seconds to wait: `first`, doubling up to `greatest`, each shortened by up to the fraction `jitter`."""
    delay = first
    while True:
        yield delay * (1 - jitter * chance())
        delay = min(delay * 2, greatest)
