"""Errors of the database are told apart by the codes that PostgreSQL gives them."""

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db.engine import make_engine
from app.db.outage import Trouble, trouble, why
from tests.conftest import SettingsMaker
from tests.services import Database

AWAY, BUSY, REFUSED = Trouble.AWAY, Trouble.BUSY, Trouble.REFUSED


def of_server(sqlstate: str) -> DBAPIError:
    return DBAPIError("SELECT", {}, psycopg.errors.lookup(sqlstate)("words"))


@pytest.mark.parametrize(
    ("kind", "sqlstates"),
    [
        (AWAY, ["08000", "08006", "08P01", "25006", "25P03", "53100", "53300", "57P01", "57P02", "57P03", "57P05"]),
        (BUSY, ["40001", "40P01", "55P03"]),
        (REFUSED, ["53200", "53400", "54000", "54011", "57014"]),
        (None, ["22021", "23503", "23505", "23514", "42501", "42P01", "XX000"]),
    ],
)
def test_each_code_has_its_meaning(kind: Trouble | None, sqlstates: list[str]) -> None:
    assert {code: trouble(of_server(code)) for code in sqlstates} == dict.fromkeys(sqlstates, kind)


def test_a_connection_that_is_not_to_be_had_is_an_outage_and_a_bad_value_is_none() -> None:
    assert trouble(OperationalError("SELECT", {}, psycopg.OperationalError("the connection is closed"))) is AWAY
    assert trouble(PoolTimeoutError()) is AWAY
    assert trouble(DBAPIError("SELECT", {}, psycopg.DataError("NUL"))) is None
    assert trouble(OSError()) is None


@pytest.mark.parametrize(
    ("sqlstate", "words"), [("55P03", "locked"), ("40P01", "locked"), ("57014", "in time"), ("54023", "limit")]
)
def test_people_are_told_why(sqlstate: str, words: str) -> None:
    assert words in why(of_server(sqlstate))


def test_a_connection_that_takes_no_changes_is_replaced(make_settings: SettingsMaker, database: Database) -> None:
    assert database
    engine = make_engine(make_settings("worker"))
    change = text("UPDATE run SET percent = 1")
    with engine.connect() as connection:
        # As on a primary that was demoted: new connections do not lead there (target_session_attrs), this one is there.
        connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
        connection.commit()
        with pytest.raises(DBAPIError) as caught:
            connection.execute(change)
    assert trouble(caught.value) is AWAY
    assert caught.value.connection_invalidated
    with engine.begin() as connection:
        connection.execute(change)
    engine.dispose()
