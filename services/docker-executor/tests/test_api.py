"""The API over a real socket. The engine never answers here, so that jobs stay where the test wants them."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from executor.runner import CANCEL_SECONDS, LATE_SECONDS
from tests.harness import API_KEY, Deployment, fill, read, submit, wait_for

BODY = {"job_id": "run-1", "server": "web-1", "scan_type": "fast"}


@pytest.fixture(scope="module")
def executor() -> Iterator[Deployment]:
    deployment = Deployment(engine="unix:///nowhere.sock", engine_grace=600, max_parallel=1)
    yield deployment.start()
    deployment.close()


@pytest.fixture
async def client(executor: Deployment) -> AsyncIterator[httpx.AsyncClient]:
    async with executor.client() as made:
        yield made


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code"} <= set(body)
    assert (body["status"], body["code"]) == (status, code)
    return True


@pytest.mark.parametrize("key", [None, "", "wrong", API_KEY[:-1], API_KEY + "x", API_KEY.upper()])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("POST", "/scan"), ("GET", "/openapi.json"), ("GET", "/nowhere")]
)
async def test_nothing_is_answered_without_the_key(
    executor: Deployment, key: str | None, method: str, path: str
) -> None:
    async with executor.client(key) as client:
        assert is_problem(await client.request(method, path, content=b"{"), 401, "unauthorized")


async def test_the_key_may_be_given_once_only(client: httpx.AsyncClient) -> None:
    headers = [("x-api-key", API_KEY), ("x-api-key", API_KEY)]
    async with httpx.AsyncClient(transport=client._transport, base_url="http://executor", headers=headers) as twice:
        assert is_problem(await twice.get("/health"), 401, "unauthorized")


async def test_an_accepted_job_is_described_whole(client: httpx.AsyncClient) -> None:
    job = await submit(client, "whole")
    assert set(job) == {
        *("id", "kind", "server", "scan_type", "state", "phase", "created_at", "started_at", "finished_at"),
        *("scan_exit", "report_exit", "result", "log", "error", "database"),
    }
    assert (job["id"], job["server"], job["scan_type"]) == ("whole", "web-1", "fast")
    assert set(await read(client, "whole")) == set(job)
    await client.delete("/jobs/whole")
    await wait_for(client, "whole", "cancelled", seconds=5)


async def test_the_same_body_again_is_the_same_job_and_another_body_a_conflict(client: httpx.AsyncClient) -> None:
    body = {**BODY, "job_id": "again"}
    first = await client.post("/scan", json=body)
    again = await client.post("/scan", json=body)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["created_at"] == first.json()["created_at"]
    assert is_problem(await client.post("/scan", json={**body, "scan_type": "deep"}), 409, "job_conflict")
    await client.delete("/jobs/again")
    await wait_for(client, "again", "cancelled", seconds=5)
    after = await client.post("/scan", json=body)
    assert (after.status_code, after.json()["state"]) == (200, "cancelled")


async def test_an_unknown_server_is_not_found_and_nothing_is_stored(client: httpx.AsyncClient) -> None:
    answer = await client.post("/scan", json={**BODY, "job_id": "unknown", "server": "web-2"})
    assert is_problem(answer, 404, "unknown_server")
    assert is_problem(await client.get("/jobs/unknown"), 404, "unknown_job")


@pytest.mark.parametrize(
    "change",
    [
        {"job_id": "Run-1"},
        {"job_id": "-run"},
        {"job_id": ""},
        {"job_id": "a" * 65},
        {"job_id": "run-1\n"},
        {"job_id": "run 1"},
        {"job_id": "../etc"},
        {"job_id": "r\u0000"},
        {"job_id": "r\u00fcn"},
        {"job_id": "\uff52un"},
        {"job_id": 15},
        {"job_id": None},
        {"server": "../../etc"},
        {"server": "web-1\n"},
        {"server": "web.1"},
        {"server": "-v/:/host"},
        {"server": "-"},
        {"server": "-debug"},
        {"server": 'x"]\n[vuls2'},
        {"server": "a" * 64},
        {"server": ["web-1"]},
        {"scan_type": "fast "},
        {"scan_type": "FAST"},
        {"scan_type": "offline"},
        {"scan_type": None},
        {"image": "evil"},
        {"command": ["sh"]},
        {"mounts": [{"source": "/", "target": "/host"}]},
        {"network": "host"},
        {"privileged": True},
    ],
    ids=str,
)
async def test_nothing_but_the_schema_is_accepted(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    answer = await client.post("/scan", json={**BODY, **change})
    assert is_problem(answer, 422, "invalid_request")
    assert answer.json()["errors"]


@pytest.mark.parametrize("missing", ["job_id", "server"])
async def test_a_missing_field_is_named(client: httpx.AsyncClient, missing: str) -> None:
    answer = await client.post("/scan", json={name: value for name, value in BODY.items() if name != missing})
    assert is_problem(answer, 422, "invalid_request")
    assert answer.json()["errors"][0]["at"] == f"body.{missing}"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'"run-1"', "application/json"),
        (b"\xff\xfe", "application/json"),
        (json.dumps(BODY).encode(), "text/plain"),
        (b"job_id=run-1&server=web-1", "application/x-www-form-urlencoded"),
    ],
)
async def test_what_is_no_json_object_is_refused(client: httpx.AsyncClient, content: bytes, kind: str) -> None:
    answer = await client.post("/scan", content=content, headers={"content-type": kind})
    assert is_problem(answer, 422, "invalid_request")


async def test_a_deeply_nested_body_is_refused(client: httpx.AsyncClient) -> None:
    content = b'{"job_id": ' + b"[" * 3000
    answer = await client.post("/scan", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, *, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 1024

    content = chunks() if chunked else b" " * 65536
    answer = await client.post("/scan", content=content, headers={"content-type": "application/json"})
    assert is_problem(answer, 413, "content_too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/jobs/no-such-job", 404, "unknown_job"),
        ("DELETE", "/jobs/no-such-job", 404, "unknown_job"),
        ("GET", "/jobs/no-such-job/events", 404, "unknown_job"),
        ("GET", "/jobs/UPPER", 422, "invalid_request"),
        ("GET", "/jobs/a%00b", 422, "invalid_request"),
        ("GET", "/jobs/..%2f..%2fetc", 404, "not_found"),
        ("DELETE", "/jobs/..", 404, "not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("PUT", "/scan", 405, "method_not_allowed"),
        ("GET", "/docs", 404, "not_found"),
    ],
)
async def test_what_is_not_there_is_a_problem_document(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    assert is_problem(await client.request(method, path), status, code)


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["job_id", "server", "scan_type", "x"]), inner, max_size=4)
        ),
        max_leaves=8,
    )
)
def test_no_json_value_breaks_the_executor(executor: Deployment, body: Any) -> None:
    transport = httpx.HTTPTransport(uds=str(executor.socket), verify=False)
    with httpx.Client(transport=transport, base_url="http://executor", headers={"X-API-Key": API_KEY}) as client:
        content = json.dumps(body).encode()
        answer = client.post("/scan", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (404, 422), answer.text


async def test_queued_and_waiting_jobs_are_cancelled_at_once_and_leave_nothing(
    client: httpx.AsyncClient, executor: Deployment
) -> None:
    await submit(client, "first")
    await submit(client, "second")
    assert (await wait_for(client, "first", "preparing"))["started_at"]
    assert (await read(client, "second"))["state"] == "accepted"
    for job_id in ("second", "first"):
        assert (await client.delete(f"/jobs/{job_id}")).status_code == 202
        job = await wait_for(client, job_id, "cancelled", seconds=5)
        assert job["finished_at"]
        assert (job["result"], job["error"]) == (None, None)
    assert list((executor.state_dir / "jobs").iterdir()) == []
    assert (await client.delete("/jobs/first")).json()["state"] == "cancelled"


async def test_the_stream_tells_every_move_and_then_ends(client: httpx.AsyncClient) -> None:
    await submit(client, "before")
    await submit(client, "streamed")
    listening = asyncio.Event()

    async def listen() -> list[tuple[str, str]]:
        seen, event = [], ""
        async with client.stream("GET", "/jobs/streamed/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            async for line in stream.aiter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    seen.append((event, json.loads(line.removeprefix("data: "))["state"]))
                    listening.set()
        return seen

    async with asyncio.timeout(30):
        listener = asyncio.create_task(listen())
        await listening.wait()
        await client.delete("/jobs/before")
        await wait_for(client, "streamed", "preparing")
        await client.delete("/jobs/streamed")
        seen = await listener
    assert seen[-3:] == [("phase", "preparing"), ("phase", "cancelled"), ("end", "cancelled")]
    assert await asyncio.wait_for(listen(), 30) == [("phase", "cancelled"), ("end", "cancelled")]


async def test_the_description_tells_of_problem_documents_and_of_nothing_else(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    calls = {(method, path): call for path, methods in paths.items() for method, call in methods.items()}
    assert set(calls) == {
        ("post", "/scan"),
        ("post", "/check"),
        ("post", "/assess"),
        ("get", "/jobs/{job_id}"),
        ("delete", "/jobs/{job_id}"),
        ("get", "/jobs/{job_id}/events"),
        ("get", "/health"),
    }
    for call in calls.values():
        assert "application/problem+json" in call["responses"]["default"]["content"]
        assert "422" not in call["responses"]


async def test_health_says_what_is_wrong(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "ill",
        "engine": "unreachable",
        "image": "unknown",
        "database": "missing",
        "database_info": None,
    }


async def test_no_secret_is_logged(client: httpx.AsyncClient, executor: Deployment) -> None:
    await client.get("/health")
    await submit(client, "logged")
    await client.delete("/jobs/logged")
    await wait_for(client, "logged", "cancelled")
    log = executor.log.read_text()
    assert "job logged: accepted" in log
    assert API_KEY not in log


async def test_a_full_queue_refuses_and_keeps_what_it_has(deploy: Callable[..., Deployment]) -> None:
    executor = deploy(engine="unix:///nowhere.sock", engine_grace=600, max_parallel=1, max_queued=1).start()
    async with executor.client() as client:
        await submit(client, "runs")
        await submit(client, "waits")
        assert is_problem(await client.post("/scan", json={**BODY, "job_id": "late"}), 503, "queue_full")
        assert (await client.post("/scan", json={**BODY, "job_id": "waits"})).status_code == 200


async def test_a_job_fails_with_the_reason_when_the_engine_stays_away(deploy: Callable[..., Deployment]) -> None:
    executor = deploy(engine="unix:///nowhere.sock", engine_grace=1).start()
    async with executor.client() as client:
        await submit(client, "run-1")
        job = await wait_for(client, "run-1", "failed", seconds=20)
    assert job["error"]["code"] == "engine_unreachable"
    assert "systemctl restart docker" in job["error"]["sentence"]


async def test_a_job_is_cancelled_in_time_although_the_engine_hangs(deploy: Callable[..., Deployment]) -> None:
    executor = deploy()
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(executor.path / "engine.sock"))
        engine.listen(64)  # connections are accepted by the kernel, and never answered
        executor.settings["engine"] = f"unix://{executor.path}/engine.sock"
        executor.start()
        async with executor.client() as client:
            await submit(client, "run-1")
            await wait_for(client, "run-1", "preparing")
            await client.delete("/jobs/run-1")
            # It waits for the engine for most of the five seconds, so little of them is left for a slow machine.
            assert CANCEL_SECONDS + LATE_SECONDS < 5
            await wait_for(client, "run-1", "cancelled", seconds=7)


async def test_a_broken_targets_file_is_the_deployments_fault(deploy: Callable[..., Deployment]) -> None:
    executor = deploy(engine="unix:///nowhere.sock").start()
    (executor.path / "targets.json").write_text("{")
    async with executor.client() as client:
        assert is_problem(await client.post("/scan", json=BODY), 500, "misconfigured")


async def test_a_job_that_a_full_disk_cannot_hold_is_refused_and_taken_when_there_is_room(
    deploy: Callable[..., Deployment], small_disk: Callable[[Path, int], None]
) -> None:
    executor = deploy(engine="unix:///nowhere.sock", engine_grace=600, max_parallel=1)
    small_disk(executor.state_dir, 1024)
    executor.start()
    ballast = fill(executor.state_dir)
    async with executor.client() as client:
        for number in range(100):  # until what SQLite has taken already is used up
            body = {**BODY, "job_id": f"run-{number}"}
            answer = await client.post("/scan", json=body)
            if answer.status_code != 202:
                break
        assert is_problem(answer, 503, "disk_full")
        assert f"{executor.state_dir} has 0 MiB free, a scan needs 256 MiB." in answer.json()["detail"]
        assert is_problem(await client.get(f"/jobs/{body['job_id']}"), 404, "unknown_job")
        ballast.unlink()
        assert (await client.post("/scan", json=body)).status_code == 202


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
async def test_jobs_and_cancellations_survive_the_executors_end(
    deploy: Callable[..., Deployment], sign: signal.Signals
) -> None:
    executor = deploy(engine="unix:///nowhere.sock", engine_grace=600, max_parallel=1).start()
    async with executor.client() as client:
        await submit(client, "runs")
        await submit(client, "waits")
        await wait_for(client, "runs", "preparing")
    executor.stop(sign)
    executor.start()
    async with executor.client() as client:
        assert (await read(client, "runs"))["state"] == "preparing"
        assert (await read(client, "waits"))["state"] == "accepted"
        await client.delete("/jobs/runs")
        await wait_for(client, "runs", "cancelled", seconds=5)
        await wait_for(client, "waits", "preparing", seconds=5)


async def test_sigterm_ends_streams_and_the_process_within_seconds(deploy: Callable[..., Deployment]) -> None:
    executor = deploy(engine="unix:///nowhere.sock", engine_grace=600).start()
    async with executor.client() as client:
        await submit(client, "run-1")
        async with asyncio.timeout(10), client.stream("GET", "/jobs/run-1/events") as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == "event: phase"
            status = await asyncio.to_thread(executor.stop)
            rest = [line async for line in lines]
    assert status in (0, -signal.SIGTERM)
    assert not any("end" in line for line in rest)
    assert not executor.socket.exists()
