"""Lines of libraries, as the instance's log shows them."""

import asyncio
import logging

import pytest

from app.config import Settings
from app.db.engine import make_async_engine
from app.server.logger import calm


def test_work_that_was_given_up_is_told_in_one_line() -> None:
    record = _record(asyncio.CancelledError())
    assert calm(record)
    assert (record.levelname, record.exc_info) == ("INFO", None)


def test_a_fault_of_the_pool_keeps_its_traceback() -> None:
    record = _record(RuntimeError())
    assert calm(record)
    assert (record.levelname, record.exc_info is None) == ("ERROR", False)


def test_the_filter_is_where_the_pool_logs() -> None:
    logger = make_async_engine(Settings()).pool.logger
    assert isinstance(logger, logging.Logger)
    assert logger.name == "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"


def _record(error: BaseException) -> logging.LogRecord:
    with pytest.raises(type(error)):
        raise error
    return logging.LogRecord(
        "pool", logging.ERROR, __file__, 1, "Exception during reset", (), (type(error), error, None)
    )
