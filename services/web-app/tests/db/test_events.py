"""No reader ever passes over an event, whatever writers do."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from alembic import command
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError, NoResultFound, ProgrammingError

from app.config import Component
from app.db import migrate
from app.db.engine import make_async_engine, make_engine, session_factory
from app.db.events import head, load_event, maintain, oldest_sequence, read_events, record_event
from app.db.log_tail import LogTail
from app.db.models import Event
from app.domain.cursor import Cursor
from app.domain.envelope import EVENT_TYPES, UNREADABLE, envelope
from app.domain.event_check import BadEventError
from tests.conftest import Sessions, SettingsMaker
from tests.services import Database

Maker = Callable[..., Sessions]
WRITERS, EVENTS_EACH = 8, 40


def write(sessions: Sessions, number: int) -> int:
    with sessions.begin() as session:
        return record_event(session, "notice", None, {"number": number}).id


def numbers(sessions: Sessions, after: int = 0) -> list[int]:
    with sessions() as session:
        return [event.data["number"] for event in read_events(session, after, 1000)[1]]


def test_a_long_transaction_gets_its_place_when_it_commits(sessions_as: Maker) -> None:
    web = sessions_as("web")
    with web() as slow:
        record_event(slow, "notice", None, {"number": 1})
        write(web, 2)
        with web() as session:
            seen = head(session)
        assert numbers(web) == [2]
        slow.commit()
    assert numbers(web, after=seen.sequence) == [1]
    assert numbers(web) == [2, 1]


def test_a_transaction_that_idles_holds_up_nobody(sessions_as: Maker) -> None:
    web = sessions_as("web")
    with web() as idle:
        record_event(idle, "notice", None, {"number": 1})
        for number in (2, 3):
            write(web, number)
        assert numbers(web) == [2, 3]
        idle.rollback()
    assert numbers(web) == [2, 3]


@pytest.fixture
def slow_commits(database: Database) -> Iterator[None]:
    """Between an event's number and the end of its commit lie some milliseconds, as on a slow disk."""
    database.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN PERFORM pg_sleep(random() * 0.004); RETURN NULL; END $$"
    )
    database.execute(
        "CREATE CONSTRAINT TRIGGER event_number_then_dawdle AFTER INSERT ON event"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )
    yield
    database.execute("DROP FUNCTION dawdle CASCADE")


@pytest.mark.usefixtures("slow_commits")
def test_interleaved_writers_never_make_a_reader_skip_an_event(sessions_as: Maker) -> None:
    """Each writer holds several transactions open at once and commits them in another order than it wrote them."""
    web = sessions_as("web", database_pool_size=2 * WRITERS + 1)
    done = threading.Event()
    seen: list[int] = []

    def writer(number: int) -> None:
        chance = random.Random(number)
        for batch in range(0, EVENTS_EACH, 4):
            opened = [web() for _ in range(2)]
            for offset, session in enumerate(opened * 2):
                record_event(session, "notice", None, {"number": number * 1000 + batch + offset})
            chance.shuffle(opened)
            for session in opened:
                session.commit()
                session.close()

    def read(after: int) -> int:
        with web() as session:
            events = read_events(session, after, 7)[1]
        seen.extend(event.data["number"] for event in events)
        return events[-1].cursor.sequence if events else after

    def reader() -> None:
        after = 0
        while not done.is_set():
            after = read(after)
        while (further := read(after)) != after:
            after = further

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        reading = pool.submit(reader)
        for writing in [pool.submit(writer, number) for number in range(WRITERS)]:
            writing.result()
        done.set()
        reading.result()
    assert len(seen) == len(set(seen)) == WRITERS * EVENTS_EACH


def test_one_transactions_events_keep_their_order(sessions_as: Maker) -> None:
    web = sessions_as("web")
    with web.begin() as session:
        for number in range(5):
            record_event(session, "notice", None, {"number": number})
    assert numbers(web) == [0, 1, 2, 3, 4]


def test_a_committed_event_is_loaded_with_its_cursor_and_an_open_one_is_not(sessions_as: Maker) -> None:
    web = sessions_as("web")
    with web() as session:
        event = record_event(session, "notice", None, {"number": 1})
        with pytest.raises(NoResultFound):
            load_event(session, event.id)
        session.commit()
        stored = load_event(session, event.id)
        assert stored.cursor == head(session)


def test_reading_is_bounded_and_goes_on_where_it_ended(sessions_as: Maker) -> None:
    web = sessions_as("web")
    for number in range(5):
        write(web, number)
    with web() as session:
        _, first = read_events(session, 0, 2)
        _, rest = read_events(session, first[-1].cursor.sequence, 10)
        assert [event.data["number"] for event in first + rest] == list(range(5))
        assert oldest_sequence(session) <= first[0].cursor.sequence


def test_an_empty_log_has_a_head_and_an_epoch(bare_database: Database) -> None:
    migrate.upgrade(bare_database.settings("cli"))
    engine = make_engine(bare_database.settings("web"))
    with session_factory(engine)() as session:
        epoch, events = read_events(session, 0, 10)
        assert (head(session), events, oldest_sequence(session)) == (Cursor(epoch, 0), [], 1)
    engine.dispose()


def test_what_is_deleted_is_remembered_as_gone(sessions_as: Maker, database: Database) -> None:
    web = sessions_as("web")
    for number in range(4):
        write(web, number)
    with web() as session:
        newest = head(session)
        assert oldest_sequence(session) <= newest.sequence - 3
    database.execute("DELETE FROM event WHERE seq < %s", newest.sequence)
    with web() as session:
        assert oldest_sequence(session) == newest.sequence
    database.execute("DELETE FROM event")
    with web() as session:
        assert (oldest_sequence(session), head(session)) == (newest.sequence + 1, newest)


def partitions(database: Database) -> list[str]:
    rows = database.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'event'::regclass ORDER BY 1"
    )
    return [name for (name,) in rows if name != "event_default"]


def this_week(database: Database) -> str:
    """The partition that events of now go to; there may be one of the week in which the tests began."""
    ((name,),) = database.execute(
        "SELECT 'event_w' || to_char(date_trunc('week', now() AT TIME ZONE 'UTC'), 'YYYYMMDD')"
    )
    return str(name)


@pytest.fixture
def coming(sessions_as: Maker, database: Database) -> list[str]:
    """The weeks that are there after maintenance: one may have begun since the tests did."""
    with sessions_as("scheduler").begin() as session:
        assert maintain(session, 90) == 0
    return partitions(database)


def test_weeks_are_made_ahead_and_dropped_when_they_are_old(
    sessions_as: Maker, database: Database, coming: list[str]
) -> None:
    scheduler, web = sessions_as("scheduler"), sessions_as("web")
    assert len(coming) >= 3
    old = datetime.now(UTC) - timedelta(days=100)
    monday = (old - timedelta(days=old.weekday())).date()
    with sessions_as("cli").begin() as session:  # of the log's owner
        session.execute(select(func.event_add_week(monday)))
    write(web, 1)
    with web.begin() as session:
        session.add(Event(type="notice", host_id=None, data={"number": 2}, created_at=old))
    write(web, 3)
    with web() as session:
        newest = head(session).sequence
    assert numbers(web) == [1, 2, 3]

    with scheduler.begin() as session:
        assert maintain(session, 90) == 1
        assert maintain(session, 90) == 0

    assert partitions(database) == coming
    assert numbers(web) == [1, 3]
    with web() as session:
        assert oldest_sequence(session) == newest, "the first event is there, but not everything behind it"


def test_events_of_a_week_that_was_never_made_are_kept_as_long(sessions_as: Maker, database: Database) -> None:
    scheduler, web = sessions_as("scheduler"), sessions_as("web")
    for days in (100, 50):
        with web.begin() as session:
            created = datetime.now(UTC) - timedelta(days=days)
            session.add(Event(type="notice", host_id=None, data={"number": days}, created_at=created))
    assert database.execute("SELECT count(*) FROM event_default") == [(2,)]
    with scheduler.begin() as session:
        maintain(session, 90)
    assert numbers(web) == [50]


def write_late(sessions: Sessions, days: int = 100) -> int:
    """An event of a week that was never made; return its sequence."""
    with sessions.begin() as session:
        created = datetime.now(UTC) - timedelta(days=days)
        session.add(Event(type="notice", host_id=None, data={"number": -1}, created_at=created))
    with sessions() as session:
        return head(session).sequence


def floor(sessions: Sessions) -> int:
    with sessions() as session:
        return oldest_sequence(session)


def test_who_cannot_get_the_lock_leaves_the_weeks_for_the_next_time_and_says_so(
    sessions_as: Maker, database: Database, coming: list[str]
) -> None:
    scheduler, web = sessions_as("scheduler"), sessions_as("web")
    database.execute("DROP TABLE " + coming[-1])
    before = partitions(database)
    late = write_late(web)
    with web() as reader:
        reader.execute(text("SELECT count(*) FROM event"))  # holds what making a partition would need
        with scheduler.begin() as session:
            assert maintain(session, 90) is None
    assert partitions(database) == before
    assert (numbers(web), floor(web)) == ([], late + 1), "what needs no such lock is done all the same"
    with scheduler.begin() as session:
        assert maintain(session, 90) == 0
    assert len(partitions(database)) == len(before) + 1


def test_maintenance_looks_at_no_week_that_it_does_not_drop(sessions_as: Maker, database: Database) -> None:
    scheduler, web = sessions_as("scheduler"), sessions_as("web")
    write(web, 1)
    late = write_late(web)
    write(web, 2)
    with sessions_as("cli").begin() as owner, scheduler.begin() as session:
        for week in partitions(database):
            owner.execute(text(f"LOCK TABLE {week} IN ACCESS EXCLUSIVE MODE"))
        assert maintain(session, 90) == 0
    assert (numbers(web), floor(web)) == ([1, 2], late + 1)


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM {week}", "DELETE FROM event", "TRUNCATE {week}", "TRUNCATE event", "TRUNCATE ONLY {week}"],
)
@pytest.mark.parametrize("fresh", [True, False], ids=["a week made later", "a week made first"])
def test_what_is_taken_from_a_week_by_hand_is_remembered_as_gone(
    sessions_as: Maker, database: Database, statement: str, fresh: bool
) -> None:
    web = sessions_as("web")
    if fresh:
        with sessions_as("cli").begin() as session:
            session.execute(text("DROP TABLE " + this_week(database)))
            session.execute(select(func.event_maintain(90)))
    for number in range(3):
        write(web, number)
    with web() as session:
        newest = head(session).sequence
    assert floor(web) <= newest - 2
    database.execute(statement.format(week=this_week(database)))
    assert (numbers(web), floor(web)) == ([], newest + 1)


def test_the_floor_never_sinks(sessions_as: Maker, database: Database) -> None:
    web = sessions_as("web")
    write(web, 1)
    database.execute("UPDATE event_floor SET seq = 1000000000")
    try:
        database.execute("DELETE FROM event")
        database.execute("DELETE FROM event")  # of nothing
        database.execute("TRUNCATE event")
        assert floor(web) == 1_000_000_000
    finally:
        database.execute("UPDATE event_floor SET seq = (SELECT last_value + 1 FROM event_seq)")


BAD_DATA = {
    "a number beyond a double": """'{"a": 1e400}'""",
    "one below": """'{"a": [{"b": -1e400}]}'""",
    "levels without end": "('{\"a\":' || repeat('[', 2000) || repeat(']', 2000) || '}')",
    "33 levels": "('{\"a\":' || repeat('[', 32) || repeat(']', 32) || '}')",
    "no object": "'[]'",
    "no object but null": "'null'",
    "much": """jsonb_build_object('a', repeat('x', 65536))""",
}


@pytest.mark.parametrize("bad", BAD_DATA.values(), ids=BAD_DATA.keys())
@pytest.mark.parametrize("component", ["web", "scheduler", "worker"])
def test_no_role_can_store_what_readers_stumble_over(
    make_settings: SettingsMaker, component: Component, bad: str
) -> None:
    engine = make_engine(make_settings(component))
    with engine.begin() as connection, pytest.raises(IntegrityError, match="event_data_bounded"):
        connection.exec_driver_sql(f"INSERT INTO event (type, data) VALUES ('notice', ({bad})::jsonb)")
    engine.dispose()


@pytest.mark.parametrize("type_", ["hello", "resync_required", "reconnect", "unreadable", "x" * 1000])
def test_no_role_can_speak_for_the_protocol(make_settings: SettingsMaker, type_: str) -> None:
    engine = make_engine(make_settings("worker"))
    with engine.begin() as connection, pytest.raises(IntegrityError, match="event_type_known"):
        connection.execute(text("INSERT INTO event (type, data) VALUES (:type, '{}')"), {"type": type_})
    engine.dispose()


@pytest.mark.parametrize("type_", EVENT_TYPES)
def test_the_table_takes_every_type_of_ours(sessions_as: Maker, type_: str) -> None:
    with sessions_as("worker").begin() as session:
        session.add(Event(type=type_, host_id=None, data={}))


@pytest.mark.parametrize("when", ["'infinity'", "'-infinity'", "'20000-01-01'", "now() - interval '40 days'"])
def test_a_worker_cannot_choose_when_its_events_are_dropped(make_settings: SettingsMaker, when: str) -> None:
    engine = make_engine(make_settings("worker"))
    with engine.begin() as connection, pytest.raises(ProgrammingError, match="row-level security"):
        connection.exec_driver_sql(f"INSERT INTO event (type, data, created_at) VALUES ('notice', '{{}}', {when})")
    engine.dispose()


@pytest.mark.parametrize(
    "data",
    [
        "'{}'",
        """'{"a": 1.7e307, "b": -1.7e307, "c": "1e400", "d": null}'""",
        "('{\"a\":' || repeat('[', 31) || repeat(']', 31) || '}')",
        """jsonb_build_object('a', repeat('9', 65000))""",
    ],
)
def test_what_can_be_stored_can_be_read_and_sent(sessions_as: Maker, data: str) -> None:
    with sessions_as("worker").begin() as session:
        session.connection().exec_driver_sql(f"INSERT INTO event (type, data) VALUES ('notice', ({data})::jsonb)")
    with sessions_as("web")() as session:
        (event,) = read_events(session, 0, 10)[1]
    assert event.type == "notice"
    orjson.dumps(envelope(event))


async def test_a_row_that_cannot_be_decoded_spoils_no_other_and_keeps_its_place(bare_database: Database) -> None:
    """Rows from before the table had its checks are there still."""
    engine = make_engine(bare_database.settings("cli"), compare_epoch=False)
    with engine.begin() as connection:
        config = migrate.alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
    for data in ("""'{"n": 1}'""", *BAD_DATA.values(), """'{"n": 2}'"""):
        bare_database.execute(f"INSERT INTO event (type, host_id, data) VALUES ('notice', 7, ({data})::jsonb)")
    bare_database.execute("INSERT INTO event (type, data, created_at) VALUES ('notice', '{}', 'infinity')")
    assert migrate.upgrade(bare_database.settings("cli")).changed
    assert bare_database.execute("SELECT count(*) FROM event WHERE NOT isfinite(created_at)") == [(0,)]

    with session_factory(engine)() as session:
        read = read_events(session, 0, 100)
        (last,) = session.scalars(select(Event.id).order_by(Event.id.desc()).limit(1))
        assert load_event(session, last).data == {"n": 2}
    engine.dispose()
    tail = LogTail(bare_database.settings("web"))
    assert await tail.read(0, 100) == read
    await tail.close()
    events = read[1]
    assert [event.cursor.sequence for event in events] == list(range(1, len(BAD_DATA) + 3))
    assert [(event.type, event.data) for event in (events[0], events[-1])] == [
        ("notice", {"n": 1}),
        ("notice", {"n": 2}),
    ]
    unreadable = {name for name, event in zip(BAD_DATA, events[1:-1], strict=True) if event.type == UNREADABLE}
    assert unreadable == set(BAD_DATA) - {"33 levels", "much"}
    assert all(event.data == {} and event.host_id == 7 for event in events if event.type == UNREADABLE)


def test_our_own_code_stores_nothing_that_does_not_fit(sessions_as: Maker) -> None:
    with sessions_as("web")() as session, pytest.raises(BadEventError, match="task_run_id: Field required"):
        record_event(session, "task_update", None, {"task_id": 1, "status": "success"})


@pytest.mark.parametrize("column", ["system_identifier", "timeline"])
@pytest.mark.parametrize("component", ["web", "worker", "scheduler"])
def test_another_history_begins_another_epoch_at_the_next_connection(
    make_settings: SettingsMaker, database: Database, column: str, component: str
) -> None:
    def epoch() -> str:
        engine = make_engine(make_settings(component))
        try:
            with session_factory(engine)() as session:
                return read_events(session, 0, 1)[0]
        finally:
            engine.dispose()

    before = epoch()
    assert epoch() == before
    database.execute(f"UPDATE event_epoch SET {column} = 'of another cluster'")
    after = epoch()
    assert after != before
    assert epoch() == after


async def test_the_asynchronous_engine_compares_the_epoch_too(make_settings: SettingsMaker, database: Database) -> None:
    ((before,),) = database.execute("SELECT epoch FROM event_epoch")
    database.execute("UPDATE event_epoch SET timeline = '000000FF'")
    engine = make_async_engine(make_settings("web"))
    async with engine.connect() as connection:
        after = (await connection.execute(text("SELECT epoch FROM event_epoch"))).scalar_one()
    await engine.dispose()
    assert after != before
