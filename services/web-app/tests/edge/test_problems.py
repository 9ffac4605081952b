"""What becomes of errors that no route expects."""

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from app.api import headers, problems


async def answer_to(error: Exception) -> httpx.Response:
    """Return what a client gets when a route raises `error`."""
    app = FastAPI()
    problems.install(app)
    app.add_middleware(headers.EdgeMiddleware, instance="test:1")

    @app.get("/x")
    async def fail() -> None:
        raise error

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.get("/x", headers={"X-Request-ID": "from-the-balancer"})


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError("INSERT", {}, psycopg.errors.ForeignKeyViolation()),
        IntegrityError("INSERT", {}, psycopg.errors.UniqueViolation()),
        StaleDataError("expected to update 1 row(s); 0 were matched"),
    ],
    ids=["removed meanwhile", "made meanwhile", "changed meanwhile"],
)
async def test_who_was_overtaken_by_somebody_else_is_told_so(error: Exception) -> None:
    answer = await answer_to(error)
    assert (answer.status_code, answer.json()["code"]) == (409, "changed_meanwhile")


@pytest.mark.parametrize("error", [IntegrityError("INSERT", {}, psycopg.errors.NotNullViolation()), ValueError("x")])
async def test_a_fault_of_ours_is_a_500_with_its_reason_in_the_log_only(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await answer_to(error)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert type(error).__name__ in caplog.text
    assert "'from-the-balancer'" in caplog.text
    assert type(error).__name__ not in answer.text
