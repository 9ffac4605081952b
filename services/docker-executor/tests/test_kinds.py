"""Checks and assessments over the API. The engine never answers here, so that jobs stay where the test wants them."""

import json
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.harness import API_KEY, Deployment, read, wait_for

MIB = 1024 * 1024
CHECK = {"job_id": "run-1", "server": "web-1"}
RESULT: dict[str, Any] = {"jsonVersion": 4, "serverName": "web-1", "family": "debian", "packages": {"a": {"name": "a"}}}
ASSESS = {**CHECK, "result": RESULT}


@pytest.fixture(scope="module")
def executor() -> Iterator[Deployment]:
    deployment = Deployment(engine="unix:///nowhere.sock", engine_grace=600, max_parallel=1, result_limit_mib=1)
    yield deployment.start()
    deployment.close()


@pytest.fixture
async def client(executor: Deployment) -> AsyncIterator[httpx.AsyncClient]:
    async with executor.client() as made:
        yield made


async def cancelled(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    await client.delete(f"/jobs/{job_id}")
    return await wait_for(client, job_id, "cancelled", seconds=20)


@pytest.mark.parametrize(("path", "body", "kind"), [("/check", CHECK, "check"), ("/assess", ASSESS, "assess")])
async def test_the_same_body_again_is_the_same_job_and_any_other_a_conflict(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], kind: str
) -> None:
    body = {**body, "job_id": f"again-{kind}"}
    first, again = [await client.post(path, json=body) for _ in range(2)]
    assert (first.status_code, again.status_code) == (202, 200)
    assert (first.json()["kind"], again.json()["created_at"]) == (kind, first.json()["created_at"])
    others: dict[str, dict[str, Any]] = {
        "/scan": {**CHECK, "scan_type": "fast"},
        "/check": CHECK,
        "/assess": {**ASSESS, "result": {**RESULT, "packages": {"a": {"name": "b"}}}},
    }
    for other, its in others.items():
        if other != path or kind == "assess":
            answer = await client.post(other, json={**its, "job_id": f"again-{kind}"})
            assert (answer.status_code, answer.json()["code"]) == (409, "job_conflict"), other
    assert (await cancelled(client, f"again-{kind}"))["result"] is None


async def test_what_a_report_added_makes_no_other_job(client: httpx.AsyncClient) -> None:
    body = {**ASSESS, "job_id": "reported"}
    reported = {**RESULT, "reportedAt": "2026-11-23T05:50:51Z", "scannedCves": {"CVE-1": {"cveContents": {"nvd": []}}}}
    assert (await client.post("/assess", json=body)).status_code == 202
    assert (await client.post("/assess", json={**body, "result": reported})).status_code == 200
    await cancelled(client, "reported")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"result": None}, 422),
        ({"result": []}, 422),
        ({"result": "{}"}, 422),
        ({"result": {}}, 422),
        ({"result": {**RESULT, "jsonVersion": 5}}, 422),
        ({"result": {**RESULT, "jsonVersion": "4"}}, 422),
        ({"result": {**RESULT, "jsonVersion": True}}, 422),
        ({"result": {**RESULT, "config": {}}}, 422),
        ({"result": {**RESULT, "config": None}}, 422),
        ({"result": {**RESULT, "serverName": "../../etc/cron.d/x"}}, 422),
        ({"result": {**RESULT, "serverName": "web-2"}}, 409),
        ({"server": "web-2", "result": {**RESULT, "serverName": "web-2"}}, 404),
        ({"server": "../web-1"}, 422),
        ({"job_id": "../run"}, 422),
        ({"scan_type": "fast"}, 422),
        ({"image": "evil"}, 422),
        ({"network": "host"}, 422),
        ({"mounts": [{"source": "/", "target": "/host"}]}, 422),
    ],
    ids=str,
)
async def test_nothing_but_the_servers_own_result_is_accepted(
    client: httpx.AsyncClient, change: dict[str, Any], status: int
) -> None:
    answer = await client.post("/assess", json={**ASSESS, "job_id": "refused", **change})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.get("/jobs/refused")).status_code == 404


@pytest.mark.parametrize(
    "change", [{"scan_type": "fast"}, {"result": RESULT}, {"command": ["sh"]}, {"server": "-v"}], ids=str
)
async def test_a_check_has_nothing_to_choose_but_its_server(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    assert (await client.post("/check", json={**CHECK, **change})).status_code == 422


@pytest.mark.parametrize(
    "raw",
    [
        '{"x": NaN}',
        '{"x": 1e999}',
        '{"family": ["freebsd"], "scannedCves": []}',
        '{"family": "freebsd", "scannedCves": {"CVE-1": null, "CVE-2": {"cveContents": 1}}}',
        '{"x": "\\ud800"}',
        '{"x": ' + "[" * 900 + "]" * 900 + "}",
        '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"x": ' + "9" * 5000 + "}",
        '{"serverName": "web-1", "serverName": "web-2"}',
    ],
    ids=lambda raw: str(raw)[:40],
)
async def test_no_result_breaks_the_executor(client: httpx.AsyncClient, executor: Deployment, raw: str) -> None:
    members = raw.strip()[1:-1]
    job_id = f"odd-{zlib.crc32(raw.encode())}"
    text = (
        f'{{"job_id": "{job_id}", "server": "web-1", "result": {{"jsonVersion": 4, "serverName": "web-1", {members}}}}}'
    )
    answer = await client.post("/assess", content=text.encode(), headers={"content-type": "application/json"})
    assert answer.status_code in {202, 400, 409, 422}, answer.text
    if answer.status_code == 202:
        await cancelled(client, job_id)
    assert "Traceback" not in executor.log.read_text()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("path", "size"), [("/check", 65536), ("/scan", 65536), ("/assess", 2 * MIB)])
async def test_each_call_has_the_limit_of_its_body(
    client: httpx.AsyncClient, path: str, size: int, *, chunked: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 4096):
            yield b" " * 4096

    content = chunks() if chunked else b" " * size
    answer = await client.post(path, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "content_too_large")


async def test_a_result_of_a_usual_size_is_taken_and_one_over_the_limit_not(client: httpx.AsyncClient) -> None:
    fits = {**RESULT, "packages": {f"package-{number}": {"name": "x" * 100} for number in range(3000)}}
    assert 4096 < len(json.dumps(fits)) < MIB
    answer = await client.post("/assess", json={**ASSESS, "job_id": "large", "result": fits})
    assert answer.status_code == 202, answer.text
    await cancelled(client, "large")
    grows = {**RESULT, "x": "ü" * (MIB // 4)}  # six bytes each once it is written as Vuls reads it
    text = json.dumps({**ASSESS, "job_id": "grown", "result": grows}, ensure_ascii=False).encode()
    answer = await client.post("/assess", content=text, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "content_too_large")


@pytest.mark.parametrize("path", ["/check", "/assess"])
async def test_nothing_is_accepted_without_the_key(executor: Deployment, path: str) -> None:
    async with executor.client(API_KEY[:-1]) as client:
        assert (await client.post(path, json=ASSESS)).status_code == 401


async def test_a_waiting_assessment_survives_the_executors_end_with_its_result(executor: Deployment) -> None:
    async with executor.client() as client:
        await client.post("/check", json={**CHECK, "job_id": "first"})
        await client.post("/assess", json={**ASSESS, "job_id": "waits"})
        assert (await read(client, "waits"))["state"] == "accepted"
        executor.stop()
        executor.start()
    async with executor.client() as client:
        await cancelled(client, "first")
        await wait_for(client, "waits", "preparing", seconds=20)
        assert (await client.post("/assess", json={**ASSESS, "job_id": "waits"})).status_code == 200
        await cancelled(client, "waits")
