"""What is said of several runs: the median, and how far the runs lie apart."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure over all runs."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Figure":
        """Sum up the values of the runs.

        Raises:
            ValueError: there is none.
        """
        found = list(values)
        if not found:
            raise ValueError("no run, no figure")
        return cls(statistics.median(found), min(found), max(found))

    def __str__(self) -> str:
        """Return the median and, where there is more than one run, the spread."""
        spread = "" if self.least == self.most else f" ({short(self.least)} to {short(self.most)})"
        return short(self.median) + spread


def short(value: float) -> str:
    """Return a number with three digits that count; whole thousands with separators."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
