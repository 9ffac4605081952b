"""Due times follow the clock of the task's time zone."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.schedule import BadScheduleError, Schedule, fire

HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "due"),
    [
        ("* * * * *", "UTC", "2026-03-01 10:00:00", "2026-03-01 10:01:00"),
        ("* * * * *", "UTC", "2026-03-01 10:00:59", "2026-03-01 10:01:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-01-10 00:00:00", "2026-01-10 01:30:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-07-10 00:00:00", "2026-07-10 00:30:00"),
        ("0 0 1 * MON", "UTC", "2026-03-02 12:00:00", "2026-03-09 00:00:00"),
        ("0 12 29 2 *", "UTC", "2026-03-01 00:00:00", "2028-02-29 12:00:00"),
        ("0 9 * * *", "Asia/Kathmandu", "2026-03-01 00:00:00", "2026-03-01 03:15:00"),
    ],
)
def test_the_next_due_time_is_that_of_the_tasks_zone(cron: str, zone: str, after: str, due: str) -> None:
    assert Schedule(cron, zone).next_due(at(after)) == at(due)


@pytest.mark.parametrize(
    ("cron", "start", "count", "dues"),
    [
        # 29 March 2026: 02:00 becomes 03:00. A job of the skipped hour runs right after it.
        ("30 2 * * *", "2026-03-28 12:00:00", 2, ["2026-03-29 01:00:00", "2026-03-30 00:30:00"]),
        # 25 October 2026: 03:00 becomes 02:00. A job of the repeated hour runs once, the first time.
        ("30 2 * * *", "2026-10-24 12:00:00", 2, ["2026-10-25 00:30:00", "2026-10-26 01:30:00"]),
        # Every half hour follows real time through both.
        (
            "*/30 * * * *",
            "2026-03-29 00:15:00",
            3,
            ["2026-03-29 00:30:00", "2026-03-29 01:00:00", "2026-03-29 01:30:00"],
        ),
        (
            "*/30 * * * *",
            "2026-10-25 00:15:00",
            3,
            ["2026-10-25 00:30:00", "2026-10-25 01:00:00", "2026-10-25 01:30:00"],
        ),
    ],
)
def test_a_change_of_the_clock_neither_skips_nor_doubles(cron: str, start: str, count: int, dues: list[str]) -> None:
    schedule, moment, found = Schedule(cron, "Europe/Berlin"), at(start), []
    for _ in range(count):
        moment = schedule.next_due(moment)
        found.append(moment)
    assert found == [at(due) for due in dues]


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
    st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "15,45 1-3 * * *", "0 3 * * SUN", "59 23 L * *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_the_next_due_time_is_always_later(moment: datetime, cron: str, zone: str) -> None:
    aware = moment.replace(tzinfo=UTC)
    assert Schedule(cron, zone).next_due(aware) > aware


@pytest.mark.parametrize(
    ("cron", "zone", "words"),
    [
        ("", "UTC", "five fields"),
        ("* * * *", "UTC", "five fields"),
        ("* * * * * *", "UTC", "five fields"),
        ("61 * * * *", "UTC", "minute"),
        ("* 24 * * *", "UTC", "hour"),
        ("*/0 * * * *", "UTC", "minute"),
        ("5-1 * * * *", "UTC", "minute"),
        ("a b c d e", "UTC", "minute"),
        ("0 0 31 2 *", "UTC", "day-of-month"),
        ("0 0 30 2 *", "UTC", "day-of-month"),
        ("@daily", "UTC", "five fields"),
        ("* * * * *", "Mars/Olympus", "time zone"),
        ("* * * * *", "", "time zone"),
        ("* * * * *", "../../etc/passwd", "time zone"),
        ("* * * * *", "/etc/localtime", "time zone"),
    ],
)
def test_a_schedule_that_cannot_be_used_is_refused_with_a_reason(cron: str, zone: str, words: str) -> None:
    with pytest.raises(BadScheduleError, match=words):
        Schedule(cron, zone)


MINUTES = Schedule("* * * * *", "UTC")


@pytest.mark.parametrize(
    ("due", "now", "fires_for", "collapsed", "next_due"),
    [
        ("2026-03-01 10:00:00", "2026-03-01 10:00:00", "2026-03-01 10:00:00", 0, "2026-03-01 10:01:00"),
        ("2026-03-01 10:00:00", "2026-03-01 10:00:00.4", "2026-03-01 10:00:00", 0, "2026-03-01 10:01:00"),
        ("2026-03-01 10:00:00", "2026-03-01 10:05:30", "2026-03-01 10:05:00", 5, "2026-03-01 10:06:00"),
        ("2026-03-01 10:00:00", "2026-03-03 10:00:30", "2026-03-03 10:00:00", 59, "2026-03-03 10:01:00"),
    ],
)
def test_missed_times_collapse_into_one_run(due: str, now: str, fires_for: str, collapsed: int, next_due: str) -> None:
    firing = fire(MINUTES, at(due), at(now), HOUR)
    assert (firing.scheduled_for, firing.collapsed, firing.next_due_at) == (at(fires_for), collapsed, at(next_due))


@pytest.mark.parametrize(("now", "fires"), [("2026-03-01 03:59:59", True), ("2026-03-01 04:00:01", False)])
def test_a_due_time_runs_late_only_within_the_grace(now: str, fires: bool) -> None:
    firing = fire(Schedule("0 3 * * *", "UTC"), at("2026-03-01 03:00:00"), at(now), HOUR)
    assert (firing.scheduled_for is not None) is fires
    assert firing.next_due_at == at("2026-03-02 03:00:00")
