"""Lines of libraries, as the instance's log shows them."""

import asyncio
import logging

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, text

from app.config import Settings
from app.db.engine import make_async_engine, make_engine
from app.log import calm, configure_logging
from tests.conftest import SettingsMaker


def test_work_that_was_given_up_is_told_in_one_line() -> None:
    record = _record(asyncio.CancelledError())
    assert calm(record)
    assert (record.levelname, record.exc_info) == ("INFO", None)


@pytest.mark.parametrize("error", [RuntimeError(), psycopg.ProgrammingError()])
def test_a_fault_of_ours_keeps_its_traceback(error: Exception) -> None:
    record = _record(error)
    assert calm(record)
    assert (record.levelname, record.exc_info is None) == ("ERROR", False)


def test_the_filter_is_where_the_pools_log() -> None:
    configure_logging()
    alone = create_engine(Settings().database_url, poolclass=NullPool)
    for engine in (make_engine(Settings()), make_async_engine(Settings()).sync_engine, alone):
        logger = engine.pool.logger
        assert isinstance(logger, logging.Logger)
        assert calm in logger.filters


def test_a_connection_that_is_lost_while_in_use_is_told_in_one_line(
    make_settings: SettingsMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging()  # to the standard error of this test
    engine = make_engine(make_settings("web"))
    lost = engine.raw_connection()
    cursor = lost.cursor()
    cursor.execute("SELECT pg_backend_pid()")
    (process,) = cursor.fetchall()[0]
    with engine.connect() as other:
        end = text("SELECT pg_terminate_backend(:process, 10000)")
        assert other.execute(end, {"process": process}).scalar_one()
    lost.close()
    engine.dispose()
    told = capsys.readouterr().err
    assert told.startswith("WARNING sqlalchemy.pool.impl.QueuePool: Gave up a database connection that was lost while")
    assert len(told.splitlines()) == 1


def _record(error: BaseException) -> logging.LogRecord:
    with pytest.raises(type(error)):
        raise error
    return logging.LogRecord(
        "pool", logging.ERROR, __file__, 1, "Exception during reset", (), (type(error), error, None)
    )
