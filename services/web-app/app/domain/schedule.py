"""When a scheduled task is due.

A schedule is five cron fields and a time zone. Around a change of the clock the rules are those of Debian's cron
(cron(8), as `cronsim` implements them): a job of a fixed hour and minute that falls into the skipped hour runs right
after it, and one that falls into the repeated hour runs once, the first time; one with `*` in the minute or hour field
follows real time, so "every 15 minutes" neither pauses nor doubles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)
_CRON_FIELDS = 5


class BadScheduleError(ValueError):
    """The schedule cannot be used; the message tells its writer why."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A valid cron expression in a known time zone."""

    cron: str
    timezone: str

    def __post_init__(self) -> None:
        """Refuse what could never come due.

        Raises:
            BadScheduleError: wrong fields, an unknown time zone, or a date that no year has.
        """
        if len(self.cron.split()) != _CRON_FIELDS:
            raise BadScheduleError("a schedule has five fields: minute, hour, day of month, month, day of week")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise BadScheduleError(
                f"unknown time zone {self.timezone[:64]!r}; use a name such as Europe/Berlin"
            ) from error
        try:
            next(self._after(_SOME_DAY))
        except CronSimError as error:
            raise BadScheduleError(f"{error}: see crontab(5) for what a field may hold") from error
        except (StopIteration, RuntimeError) as error:
            raise BadScheduleError("no date ever matches this schedule") from error

    def _after(self, moment: datetime) -> Iterator[datetime]:
        for local in CronSim(self.cron, moment.astimezone(ZoneInfo(self.timezone))):
            due = local.astimezone(UTC)
            # In a repeated hour the local clock shows times again that have been: they are not due twice.
            if due > moment:
                yield due

    def next_due(self, moment: datetime) -> datetime:
        """Return the first due time after `moment`, in UTC."""
        return next(self._after(moment))

    def due_between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the due times after `start` up to and including `end`, in UTC."""
        for due in self._after(start):
            if due > end:
                return
            yield due


@dataclass(frozen=True, slots=True)
class Firing:
    """What to do about a due time that has come: run for `scheduled_for` (None: too late), then wait for `next_due_at`.

    `collapsed` is the number of earlier due times within the grace that this one run stands for.
    """

    scheduled_for: datetime | None
    collapsed: int
    next_due_at: datetime


def fire(schedule: Schedule, due_at: datetime, now: datetime, grace: timedelta) -> Firing:
    """Decide about `due_at`, which is not after `now`.

    Due times missed while nobody looked collapse into one run, for the latest of them. One that is more than `grace`
    late does not run any more (a misfire).
    """
    start = max(due_at - timedelta(microseconds=1), now - grace)
    missed = list(schedule.due_between(start, now))
    return Firing(
        scheduled_for=missed[-1] if missed else None,
        collapsed=max(len(missed) - 1, 0),
        next_due_at=schedule.next_due(now),
    )
