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


def of_a_known_server(case: Case[Any]) -> Case[Any]:
    """Return the case for the one server that the deployment has, with its result where one is given."""
    if isinstance(case.body, dict) and "server" in case.body:
        body: dict[str, Any] = {**case.body, "server": "web-1"}
        if isinstance(body.get("result"), dict):
            body["result"] = body["result"] | {"serverName": "web-1"}
        case.body = body
    return case


@pytest.mark.parametrize("label", ["POST /scan", "POST /check", "POST /assess"])
def test_what_is_accepted_can_be_asked_for_and_ended_as_the_description_says(
    executor: Deployment, description: BaseSchema, session: requests.Session, label: str
) -> None:
    known = calls(description)
    accepted: set[str] = set()

    @given(case=known[label].as_strategy(GenerationMode.POSITIVE).map(of_a_known_server))
    @hypothesis_settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
    )
    def ask(case: Case[Any]) -> None:
        answer = case.call_and_validate(base_url=BASE, session=session, headers=KEY)
        if answer.status_code not in {200, 202}:
            return
        job = answer.json()
        accepted.add(job["id"])
        assert isinstance(case.body, dict)
        assert (job["id"], job["server"]) == (case.body["job_id"], "web-1")
        for other in ("GET /jobs/{job_id}", "DELETE /jobs/{job_id}", "GET /jobs/{job_id}/events"):
            about = known[other].Case(path_parameters={"job_id": job["id"]})
            said = about.call_and_validate(base_url=BASE, session=session, headers=KEY)
            assert said.status_code in {200, 202}

    ask()
    assert len(accepted) >= EXAMPLES // 3, "hardly a job got through"
    assert "Traceback" not in executor.log.read_text()


ESCAPES = {
    "image": "evil",
    "command": "sh",
    "entrypoint": "sh",
    "network": "host",
    "network_mode": "host",
    "mounts": "/:/host",
    "privileged": "true",
    "user": "0",
    "server": "web-2",
    "X-Image": "evil",
    "X-HTTP-Method-Override": "DELETE",
    "X-Forwarded-Prefix": "/scan",
}


@pytest.mark.parametrize("path", ["/scan", "/check"])
def test_nothing_beside_the_body_chooses_anything(session: requests.Session, path: str) -> None:
    plain, loaded = (
        session.post(
            f"{BASE}{path}",
            json={"job_id": f"{name}-{path[1:]}", "server": "web-1"},
            headers=KEY | (ESCAPES if name == "loaded" else {}),
            params=ESCAPES if name == "loaded" else {},
        )
        for name in ("plain", "loaded")
    )
    assert (plain.status_code, loaded.status_code) == (202, 202)
    told = ("kind", "server", "scan_type")
    assert [loaded.json()[name] for name in told] == [plain.json()[name] for name in told]
