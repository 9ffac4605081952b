"""How far a scan is: the phases it went through, against how long they took in earlier scans of the host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# The executor's phases in their order. Waiting for a place there is none: it says nothing about the scan.
PHASES = (
    "preparing",
    "starting",
    "validating",
    "connecting",
    "connected",
    "detecting_platform",
    "collecting_packages",
    "loading",
    "matching",
    "matched",
)
MAX_PHASE = 64  # characters of a phase's name
MOST = 99  # percent of a scan that has not ended


def mean_seconds(scans: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return how long each phase took on average. A phase that went by unseen took no time."""
    return {phase: sum(scan.get(phase, 0.0) for scan in scans) / len(scans) for phase in PHASES} if scans else {}


@dataclass(slots=True)
class Course:
    """A scan under way. `percent` never falls, and is None for a host without earlier scans: nobody could tell.

    `earlier` has the seconds of each phase in earlier scans of the host.
    """

    earlier: Mapping[str, float]
    percent: int | None = None
    phase: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    _at: float = 0.0

    def look(self, phase: str, now: float) -> None:
        """Note that the scan is in `phase` at `now`, seconds of a monotonic clock."""
        if self.phase is not None:
            self.seconds[self.phase] = self.seconds.get(self.phase, 0.0) + now - self._at
        self.phase, self._at = phase, now
        share = self._share()
        if share is not None:
            self.percent = max(self.percent or 0, share)

    def durations(self) -> dict[str, float]:
        """Return how long each phase took so far."""
        return {phase: round(self.seconds[phase], 3) for phase in PHASES if phase in self.seconds}

    def _share(self) -> int | None:
        """Return the percent that the phases before took, and this one up to now; at most its whole share."""
        total = sum(self.earlier.values())
        if not total or self.phase not in PHASES:
            return None
        before = sum(self.earlier.get(phase, 0.0) for phase in PHASES[: PHASES.index(self.phase)])
        within = min(self.seconds.get(self.phase, 0.0), self.earlier.get(self.phase, 0.0))
        return min(int(100 * (before + within) / total), MOST)
