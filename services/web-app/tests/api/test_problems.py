"""What a client is told of errors that are not its own."""

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg.errors import NumericValueOutOfRange, ReadOnlySqlTransaction
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, InternalError

from app.api import problems


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(InternalError("INSERT", {}, ReadOnlySqlTransaction(), connection_invalidated=True), id="demoted"),
        # What libpq says without the server has no SQLSTATE, and so psycopg no class for it.
        pytest.param(DatabaseError("SELECT", {}, psycopg.DatabaseError(), connection_invalidated=True), id="lost"),
    ],
)
async def test_a_connection_that_is_of_no_use_any_more_is_a_database_that_is_away(error: DBAPIError) -> None:
    answer = await _asked(error)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")


async def test_a_statement_that_is_wrong_is_a_fault_of_ours() -> None:
    with pytest.raises(DataError):
        await _asked(DataError("SELECT", {}, NumericValueOutOfRange("too large")))


async def _asked(error: DBAPIError) -> httpx.Response:
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    async def ask() -> None:
        raise error

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://instance") as client:
        return await client.get("/")
