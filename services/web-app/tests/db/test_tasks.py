"""A task's schedule and the due time that follows from it."""

from datetime import UTC, datetime, timedelta

import pytest

from app.db.models import ScheduledTask
from app.db.tasks import set_schedule
from app.domain.schedule import BadScheduleError

DUE = datetime.now(UTC) - timedelta(seconds=1)  # has come, and nobody has fired it yet


def task(cron: str | None = "*/5 * * * *", due_at: datetime | None = DUE) -> ScheduledTask:
    return ScheduledTask(name="x", host_id=1, cron=cron, timezone="UTC", enabled=True, next_due_at=due_at)


def test_the_same_schedule_again_keeps_the_due_time() -> None:
    same = task()
    set_schedule(same, "*/5 * * * *", "UTC", enabled=True)
    assert same.next_due_at == DUE


@pytest.mark.parametrize(
    ("cron", "timezone"), [("*/6 * * * *", "UTC"), ("*/5 * * * *", "Europe/Berlin")], ids=["cron", "time zone"]
)
def test_another_schedule_gives_another_due_time(cron: str, timezone: str) -> None:
    changed = task()
    set_schedule(changed, cron, timezone, enabled=True)
    assert changed.next_due_at is not None
    assert changed.next_due_at > DUE


def test_a_schedule_that_waits_for_a_new_one_comes_back_when_it_is_given_again() -> None:
    waiting = task(due_at=None)
    set_schedule(waiting, "*/5 * * * *", "UTC", enabled=True)
    assert waiting.next_due_at is not None


@pytest.mark.parametrize(("cron", "enabled"), [(None, True), ("*/5 * * * *", False)], ids=["by hand", "paused"])
def test_without_a_schedule_or_paused_nothing_is_due(cron: str | None, enabled: bool) -> None:
    stopped = task()
    set_schedule(stopped, cron, "UTC", enabled=enabled)
    assert stopped.next_due_at is None


def test_a_schedule_that_cannot_be_used_leaves_the_task_as_it_was() -> None:
    kept = task()
    with pytest.raises(BadScheduleError):
        set_schedule(kept, "61 * * * *", "UTC", enabled=True)
    assert (kept.cron, kept.next_due_at) == ("*/5 * * * *", DUE)
