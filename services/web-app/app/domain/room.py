"""Which queued runs may go on: one scan of a host at a time, and limits of zones and of hypervisors."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run scans. `group` names the hosts that share a hypervisor with its host.

    Without a zone or a group it counts toward none: `assess again` touches no host.
    """

    host_id: int
    zone: str | None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How many scans may go on at once: in the zones that are named, and in each group (0: any number)."""

    zones: Mapping[str, int] = field(default_factory=dict)
    group: int = 0


class Room:
    """What the limits leave for further runs beside those of `taken`."""

    def __init__(self, limits: Limits, taken: Iterable[Place]) -> None:
        self._limits = limits
        self._hosts: set[int] = set()
        self._zones: Counter[str] = Counter()
        self._groups: Counter[str] = Counter()
        for place in taken:
            self._add(place)

    def take(self, place: Place) -> bool:
        """Take the place if it is free; a run that does not fit takes nothing from those behind it."""
        if place.host_id in self._hosts or self._is_full(place):
            return False
        self._add(place)
        return True

    def _is_full(self, place: Place) -> bool:
        if place.zone is not None and self._zones[place.zone] >= self._limits.zones.get(place.zone, math.inf):
            return True
        return place.group is not None and 0 < self._limits.group <= self._groups[place.group]

    def _add(self, place: Place) -> None:
        self._hosts.add(place.host_id)
        if place.zone is not None:
            self._zones[place.zone] += 1
        if place.group is not None:
            self._groups[place.group] += 1
