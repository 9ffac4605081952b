"""What came of it: counts, and every reason why the verdict is bad."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from tests.chaos.follower import Diary
from tests.chaos.ledger import Entry, differences

SHOWN = 10  # reasons of a kind


@dataclass
class Report:
    """The figures, and `problems`: empty is a good verdict. Times are in seconds."""

    seconds: float = 0.0
    clients: int = 0
    events_sent: int = 0
    events_logged: int = 0
    writes_refused: int = 0
    deliveries: int = 0
    lost: int = 0
    repeated: int = 0
    missing_from_log: int = 0
    page_requests: int = 0
    failed_page_requests: int = 0
    repeated_page_requests: int = 0
    slowest_page: float = 0.0
    reconnects: int = 0
    peak_reconnects_per_second: int = 0
    refused_handshakes: dict[str, int] = field(default_factory=dict)
    resyncs: int = 0
    scans_started: int = 0
    scans_ended_well: int = 0
    wait_p50: float = 0.0
    wait_p99: float = 0.0
    longest_wait: float = 0.0
    releases: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def blame(self, kind: str, reasons: Sequence[str]) -> None:
        """Note reasons of one kind, the first few with their words."""
        self.problems += [f"{kind}: {reason}" for reason in reasons[:SHOWN]]
        if len(reasons) > SHOWN:
            self.problems.append(f"{kind}: and {len(reasons) - SHOWN} more")

    def as_dict(self) -> dict[str, object]:
        """Return what is written to the report's file."""
        return {"verdict": "bad" if self.problems else "good", **asdict(self)}


@dataclass(frozen=True)
class Told:
    """How often one client was told what: events it never got, and events it got more than once."""

    deliveries: int
    lost: int
    repeated: int
    difference: str | None


def compare(diary: Diary, log: Sequence[Entry], base: int) -> Told:
    """Compare a client's diary with the log behind the sequence `base`. A digest tells all that lies within it."""
    updates = [entry for entry in log if entry.type == "task_update" and entry.sequence > base]
    times = Counter({entry.sequence: 0 for entry in updates})
    for first, last, count in zip(diary.first, diary.last, diary.count, strict=True):
        if count == 0:
            times[first] += 1
        else:
            times.update(entry.sequence for entry in updates if first <= entry.sequence <= last)
    told = sum(times.values())
    lost = sum(not count for count in times.values())
    return Told(told, lost, told - (len(times) - lost), differences(diary, updates))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the sorted `values` lie; 0 where there are none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def missing(stored: Iterable[int], logged: Iterable[int]) -> list[int]:
    """Return the numbers that were committed and are in no log, or in it twice."""
    found = Counter(logged)
    return [number for number in stored if found[number] != 1]
