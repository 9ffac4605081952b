"""The log reader in a storm: what it holds back, for how long, and what never waits. The log is a list of rows."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import psycopg
import pytest

from app.db.log_tail import LogTail
from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent, task_update_data
from app.realtime import reader
from app.realtime.hub import ConnectionManager
from app.realtime.reader import LogReader

RATE = 10  # events a second
EPOCH = "k3f9"


class Log:
    """Stands in for the connection to PostgreSQL."""

    def __init__(self) -> None:
        self.rows: list[StoredEvent] = []
        self.away = False
        self.reads = 0

    def happens(self, *statuses: str) -> None:
        for status in statuses:
            sequence = len(self.rows) + 1
            data = task_update_data(1, sequence, status, "a scan", {}, datetime.now(UTC))
            self.rows.append(StoredEvent(Cursor(EPOCH, sequence), "task_update", None, data, datetime.now(UTC)))

    async def head(self) -> Cursor:
        return Cursor(EPOCH, len(self.rows))

    async def read(self, after: int, limit: int) -> tuple[str, list[StoredEvent]]:
        self.reads += 1
        if self.away:
            raise psycopg.OperationalError
        return EPOCH, self.rows[max(after, 0) : max(after, 0) + limit]

    async def close(self) -> None:
        """Nothing is open."""


class Hub(ConnectionManager):
    """Remembers what was published, and whether it was to be merged."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[tuple[int, bool]] = []

    def publish(self, events: Any, *, merge: bool = False) -> None:
        super().publish(events, merge=merge)
        self.published += [(event.cursor.sequence, merge) for event in events]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (the reader tells nobody)
            await asyncio.sleep(0.001)


@asynccontextmanager
async def reading(log: Log, hub: Hub) -> AsyncIterator[LogReader]:
    """Follow `log`; a read follows only a wake-up, or the end of the time for which events are held back."""
    made = LogReader(cast("LogTail", log), hub, poll_interval=60, digest_rate=RATE, wakes_come=lambda: True)
    task = asyncio.create_task(made.run())
    await until(lambda: made.read_at)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def read_again(log: Log, made: LogReader) -> None:
    before = log.reads
    made.wake()
    await until(lambda: log.reads > before)
    await asyncio.sleep(0.01)  # nothing tells that a reader does not publish


@pytest.fixture
def for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "COLLECT", 60.0)


@pytest.mark.usefixtures("for_long")
async def test_without_a_storm_nothing_is_held_back() -> None:
    log, hub = Log(), Hub()
    async with reading(log, hub) as made:
        log.happens(*["success"] * RATE)
        await read_again(log, made)
    assert hub.published == [(sequence, False) for sequence in range(1, RATE + 1)]


@pytest.mark.usefixtures("for_long")
async def test_in_a_storm_updates_wait_and_what_is_urgent_takes_them_along_at_once() -> None:
    log, hub = Log(), Hub()
    async with reading(log, hub) as made:
        log.happens(*["success"] * (RATE + 1))
        await read_again(log, made)
        assert hub.published == []
        log.happens("success")
        await read_again(log, made)
        assert hub.published == []
        log.happens("failed")
        await read_again(log, made)
    assert hub.published == [(sequence, True) for sequence in range(1, RATE + 4)]


async def test_what_came_in_a_storm_is_merged_although_it_has_passed_when_the_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "COLLECT", 1.2)  # longer than what a storm is measured over
    log, hub = Log(), Hub()
    async with reading(log, hub) as made:
        log.happens(*["success"] * (RATE + 1))
        made.wake()
        await until(lambda: hub.published)
    assert hub.published == [(sequence, True) for sequence in range(1, RATE + 2)]


@pytest.mark.usefixtures("for_long")
async def test_more_than_a_batch_does_not_wait() -> None:
    log, hub = Log(), Hub()
    async with reading(log, hub) as made:
        log.happens(*["success"] * reader.BATCH)
        await read_again(log, made)
    assert len(hub.published) == reader.BATCH


@pytest.mark.usefixtures("for_long")
async def test_nothing_is_held_back_while_the_log_cannot_be_read() -> None:
    log, hub = Log(), Hub()
    async with reading(log, hub) as made:
        log.happens(*["success"] * (RATE + 1))
        await read_again(log, made)
        log.away = True
        await read_again(log, made)
        assert made.failing
    assert len(hub.published) == RATE + 1


async def test_the_beginning_remembers_what_was_just_before() -> None:
    log, hub = Log(), Hub()
    log.happens(*["success"] * 5)
    async with reading(log, hub):
        assert hub.head == Cursor(EPOCH, 5)
        recent = hub.recent(Cursor(EPOCH, 2))
    assert hub.published == []
    assert recent is not None
    assert [event.cursor.sequence for event in recent] == [3, 4, 5]


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("task_update", {}),
        ("task_update", []),
        ("task_update", {"task_run_id": 1, "status": "success"}),
        ("task_update", {"result_data": {"high": "many"}}),
        ("task_update", {"result_data": {"deep": nested(300)}}),
        ("surprise", {}),
    ],
    ids=["nothing", "a list", "half of it", "a word for a number", "too deep", "unknown type"],
)
async def test_a_row_that_fits_no_schema_is_passed_over(
    caplog: pytest.LogCaptureFixture, type_: str, data: dict[str, Any]
) -> None:
    log, hub = Log(), Hub()
    async with reading(log, hub) as made:
        log.happens("success", "success", "success")
        bad = log.rows[1]
        whole = bad.data | data if "result_data" in data else data
        log.rows[1] = StoredEvent(bad.cursor, type_, None, whole, bad.created_at)
        await read_again(log, made)
        assert hub.head == Cursor(EPOCH, 3)
        recent = hub.recent(Cursor(EPOCH, 0))
    assert recent is not None
    assert [(event.cursor.sequence, event.type) for event in recent] == [(1, "task_update"), (3, "task_update")]
    assert f"Passed over {EPOCH}-2 in the event log" in caplog.text
