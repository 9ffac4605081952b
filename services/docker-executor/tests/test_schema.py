"""Whatever the API's own description allows, and what it does not, is sent to it: every answer is a described one."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from docker.transport import UnixHTTPAdapter
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import BaseSchema, Case, GenerationMode, openapi
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from tests.harness import API_KEY, Deployment

BASE = "http://executor"
KEY = {"X-API-Key": API_KEY}
CALLS = {
    "POST /scan": list(GenerationMode),
    "POST /check": list(GenerationMode),
    "POST /assess": list(GenerationMode),
    "GET /jobs/{job_id}": list(GenerationMode),
    "GET /jobs/{job_id}/events": list(GenerationMode),
    "DELETE /jobs/{job_id}": list(GenerationMode),
    "GET /health": [GenerationMode.POSITIVE],  # there is nothing to get wrong
}
EXAMPLES = 25


@pytest.fixture(scope="module")
def executor() -> Iterator[Deployment]:
    # No engine and little patience: every job ends soon, and its event stream with it.
    deployment = Deployment(engine="unix:///nowhere.sock", engine_grace=1)
    yield deployment.start()
    deployment.close()


@pytest.fixture(scope="module")
def session(executor: Deployment) -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.mount(BASE, UnixHTTPAdapter(f"http+unix://{executor.socket}", timeout=20))
        yield made


@pytest.fixture(scope="module")
def description(session: requests.Session) -> BaseSchema:
    return openapi.from_dict(session.get(f"{BASE}/openapi.json", headers=KEY).json())


def calls(description: BaseSchema) -> dict[str, APIOperation[Any, Any, Any, Any]]:
    """Return the described calls by method and path."""
    found = [result.ok() for result in description.get_all_operations() if isinstance(result, Ok)]
    return {call.label: call for call in found}


def test_every_call_is_here(description: BaseSchema) -> None:
    assert set(calls(description)) == set(CALLS)


@pytest.mark.parametrize(
    ("label", "mode"), [(label, mode) for label, modes in CALLS.items() for mode in modes], ids=str
)
def test_every_answer_is_one_that_the_description_knows(
    executor: Deployment, description: BaseSchema, session: requests.Session, label: str, mode: GenerationMode
) -> None:
    call = calls(description)[label]
    ill: list[CheckFunction] | None = [not_a_server_error] if label == "GET /health" else None  # it says 503

    @given(case=call.as_strategy(mode))
    @hypothesis_settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
    )
    def ask(case: Case[Any]) -> None:
        case.call_and_validate(base_url=BASE, session=session, headers=KEY, excluded_checks=ill)

    ask()
    assert "Traceback" not in executor.log.read_text()
