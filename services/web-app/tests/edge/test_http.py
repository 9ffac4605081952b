"""The HTTP API: rights, refusals, headers, descriptions."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.routing import APIRoute

from app import main
from tests.edge.browser import Browser, problem
from tests.edge.conftest import World
from tests.edge.process import InstanceProcess
from tests.services import Database

SignIn = Callable[..., Browser]


def test_the_api_description_has_every_route(instance: InstanceProcess) -> None:
    described = instance.client().get("/api/openapi.json").json()["paths"]
    routes = {
        (route.path, method.lower())
        for module in main._ROUTERS
        for route in module.router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods or ()
    }

    assert {(path, method) for path, item in described.items() for method in item} == routes
    assert {"/api/auth/login", "/api/scheduled-tasks/{task_id}/run", "/health", "/readyz", "/api/events"} <= {
        *described
    }


def test_health_and_readiness_tell_the_release(instance: InstanceProcess) -> None:
    client = instance.client()

    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {
        "status": "ready",
        "release": "release-7",
        "instance": "test:1",
        "database": "ok",
        "redis": "ok",
    }


@pytest.mark.parametrize("path", ["/health", "/api/hosts", "/nowhere", "/static/nowhere.js"])
def test_every_answer_carries_the_security_headers_and_the_instance(instance: InstanceProcess, path: str) -> None:
    headers = instance.client().get(path).headers

    assert headers["X-Vuls-Instance"] == "test:1"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers.get("Cache-Control") == ("no-store" if not path.startswith("/static") else None)
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/metrics", "/status", "/drain", "/docs", "/redoc", "/openapi.json"])
def test_the_public_socket_has_no_admin_route(instance: InstanceProcess, path: str) -> None:
    problem(instance.client().get(path), 404, "not_found")


OPEN = {
    ("GET", "/health"),
    ("GET", "/readyz"),
    ("GET", "/api/asyncapi.json"),
    ("POST", "/api/auth/login"),
    ("POST", "/api/auth/logout"),
}
ROUTES = sorted(
    (method, re.sub(r"\{\w+\}", "1", route.path))
    for module in main._ROUTERS
    for route in module.router.routes
    if isinstance(route, APIRoute) and route.include_in_schema
    for method in route.methods or ()
    if (method, route.path) not in OPEN
)
CHANGES = [(method, path) for method, path in ROUTES if method != "GET"]
FOR_ADMINISTRATORS = [
    (method, path)
    for method, path in ROUTES
    if path.startswith(("/api/users", "/api/tokens")) or (method, path) == ("POST", "/api/hosts")
]


def test_every_route_but_the_open_ones_refuses_strangers(instance: InstanceProcess) -> None:
    with instance.client() as http:
        for method, path in ROUTES:
            problem(http.request(method, path), 401, "not_signed_in")
    assert len(ROUTES) > 20


def test_every_change_by_cookie_needs_a_listed_origin(sign_in: SignIn) -> None:
    http = sign_in("admin").http
    http.headers["origin"] = "https://evil.example"
    for method, path in CHANGES:
        problem(http.request(method, path), 403, "origin_refused")
    assert len(CHANGES) > 10


def test_what_is_for_administrators_is_refused_to_everybody_else(sign_in: SignIn) -> None:
    for name in ("viewer-1", "operator-1"):
        http = sign_in(name).http
        for method, path in FOR_ADMINISTRATORS:
            problem(http.request(method, path), 403, "forbidden")
    assert len(FOR_ADMINISTRATORS) == 9


@pytest.mark.parametrize("name", ["../../etc", "", "a" * 64, "host\n1", "höst", "a b", "host;rm", 7, None, ["host"]])
def test_a_host_name_that_is_none_is_refused_and_nothing_is_stored(
    sign_in: SignIn, database: Database, name: object
) -> None:
    response = sign_in("admin").http.post("/api/hosts", json={"name": name, "address": "192.0.2.9"})

    body = problem(response, 422, "invalid")
    assert body["errors"][0]["field"] == "name"
    assert database.execute("SELECT count(*) FROM host") == [(2,)]


def test_unknown_fields_and_converted_values_are_refused(sign_in: SignIn) -> None:
    http = sign_in("admin").http
    body = {"name": "host-9", "address": "192.0.2.9", "port": "22", "role": "x"}

    errors = problem(http.post("/api/hosts", json=body), 422, "invalid")["errors"]

    assert {error["field"] for error in errors} == {"port", "role"}


def test_malformed_json_is_a_problem(sign_in: SignIn) -> None:
    headers = {"Content-Type": "application/json"}
    problem(sign_in("admin").http.post("/api/hosts", content="{", headers=headers), 400, "malformed_json")


def test_a_huge_body_is_refused(instance: InstanceProcess) -> None:
    body = {"username": "x", "password": "y" * 100_000}
    problem(instance.client().post("/api/auth/login", json=body), 413, "too_large")


def test_what_was_sent_is_not_repeated_in_the_answer(instance: InstanceProcess) -> None:
    body = {"username": "viewer-1", "password": "", "passwort": "a private password"}
    response = instance.client().post("/api/auth/login", json=body)

    problem(response, 422, "invalid")
    assert "a private password" not in response.text


@pytest.mark.parametrize(("method", "path"), [("PUT", "/api/hosts"), ("DELETE", "/health")])
def test_a_wrong_method_is_a_problem(instance: InstanceProcess, method: str, path: str) -> None:
    problem(instance.client().request(method, path), 405, "method_not_allowed")


@pytest.mark.parametrize("identifier", ["0", "-1", "9223372036854775808", "1e3", "x", "%00"])
def test_an_id_of_nothing_is_a_problem_and_no_fault(sign_in: SignIn, identifier: str) -> None:
    http = sign_in("admin").http
    for path in ("/api/hosts", "/api/scheduled-tasks", "/api/runs", "/api/scans", "/api/users"):
        assert http.get(f"{path}/{identifier}").status_code in (404, 422)


def test_a_host_is_added_once(sign_in: SignIn) -> None:
    http = sign_in("admin").http
    body = {"name": "web-1", "address": "192.0.2.9", "groups": ["group-1"], "hypervisor_group": "rack-7"}

    made = http.post("/api/hosts", json=body)
    assert made.status_code == 201
    never_scanned = {"latest": None, "assessment": None}
    assert made.json() == body | never_scanned | {"id": made.json()["id"], "port": 22, "zone": "default"}
    assert made.json()["id"] >= 1_000_000
    problem(http.post("/api/hosts", json=body), 409, "host_exists")
    problem(http.post("/api/hosts", json=body | {"name": "web-2", "groups": ["none"]}), 422, "invalid")
    assert http.get(f"/api/hosts/{made.json()['id']}").json() == made.json()


def test_lists_go_on_where_the_last_part_ended(sign_in: SignIn, world: World) -> None:
    http = sign_in("admin").http

    first = http.get("/api/hosts", params={"limit": 1}).json()
    second = http.get("/api/hosts", params={"limit": 1, "after": first["next"]}).json()

    assert [host["id"] for host in first["items"] + second["items"]] == list(world.hosts)
    assert second["next"] is None


def test_one_sees_the_hosts_of_ones_groups_and_the_rest_does_not_exist(sign_in: SignIn, world: World) -> None:
    http = sign_in("viewer-1").http

    assert [host["name"] for host in http.get("/api/hosts").json()["items"]] == ["host-1"]
    assert [task["host_name"] for task in http.get("/api/scheduled-tasks").json()["items"]] == ["host-1"]
    for path in (
        f"/api/hosts/{world.hosts[1]}",
        f"/api/hosts/{world.hosts[1]}/findings",
        f"/api/scheduled-tasks/{world.tasks[1]}",
        f"/api/scheduled-tasks/{world.tasks[1]}/runs",
    ):
        assert (
            problem(http.get(path), 404, "not_found")["detail"]
            == problem(
                http.get(path.replace(str(world.hosts[1]), "5").replace(str(world.tasks[1]), "5")), 404, "not_found"
            )["detail"]
        )


def test_a_viewer_may_not_run_or_change(sign_in: SignIn, world: World, database: Database) -> None:
    http = sign_in("viewer-1").http
    task = f"/api/scheduled-tasks/{world.tasks[0]}"

    problem(http.post(f"{task}/run"), 403, "forbidden")
    problem(http.patch(task, json={"enabled": False}), 403, "forbidden")
    problem(http.delete(task), 403, "forbidden")
    problem(http.post("/api/scheduled-tasks", json={"name": "x", "host_id": world.hosts[0]}), 403, "forbidden")
    problem(http.post("/api/hosts", json={"name": "x", "address": "192.0.2.9"}), 403, "forbidden")
    problem(http.get("/api/users"), 403, "forbidden")
    problem(http.post("/api/tokens", json={"user": "admin", "name": "x"}), 403, "forbidden")
    assert database.execute("SELECT count(*) FROM run") == [(0,)]


def test_an_operator_runs_and_cancels_on_its_own_hosts_only(sign_in: SignIn, world: World) -> None:
    http = sign_in("operator-1").http

    run = http.post(f"/api/scheduled-tasks/{world.tasks[0]}/run")
    assert run.status_code == 202
    assert (run.json()["status"], run.json()["trigger"]) == ("queued", "manual")
    problem(http.post(f"/api/scheduled-tasks/{world.tasks[1]}/run"), 404, "not_found")

    path = f"/api/runs/{run.json()['id']}"
    problem(sign_in("viewer-1").http.post(f"{path}/cancel"), 403, "forbidden")
    problem(sign_in("viewer-2").http.post(f"{path}/cancel"), 404, "not_found")
    assert http.post(f"{path}/cancel").json()["status"] == "cancelled"
    problem(http.post(f"{path}/cancel"), 409, "run_finished")
    assert http.get(path).json()["status"] == "cancelled"
    assert [item["id"] for item in http.get("/api/runs").json()["items"]] == [run.json()["id"]]


def test_the_log_of_a_run_is_read_from_where_one_stopped_by_those_who_may_see_its_host(
    sign_in: SignIn, world: World, database: Database
) -> None:
    http = sign_in("operator-1").http
    run = http.post(f"/api/scheduled-tasks/{world.tasks[0]}/run").json()["id"]
    path = f"/api/runs/{run}/log"
    assert http.get(path).json() == {"items": [], "next": "0"}
    database.execute(
        "INSERT INTO run_log (run_id, n, attempt, text) SELECT %s, n, 1, '<b>' || n FROM generate_series(5, 8) n", run
    )

    first = http.get(path, params={"limit": 3}).json()
    assert first == {"items": [{"n": n, "text": f"<b>{n}"} for n in (5, 6, 7)], "next": "7"}
    second = http.get(path, params={"since": first["next"]}).json()
    assert second == {"items": [{"n": 8, "text": "<b>8"}], "next": "8"}
    assert http.get(path, params={"since": 8}).json() == {"items": [], "next": "8"}
    http.post(f"/api/runs/{run}/cancel")
    assert http.get(path, params={"since": 7}).json() == second | {"next": None}
    assert http.get(path, params={"since": 7, "limit": 1}).json()["next"] == "8"

    assert len(sign_in("viewer-1").http.get(path).json()["items"]) == 4
    problem(sign_in("viewer-2").http.get(path), 404, "not_found")
    problem(http.get("/api/runs/4711/log"), 404, "not_found")
    for wrong in ({"since": -1}, {"since": "x"}, {"limit": 0}, {"limit": 1001}):
        problem(http.get(path, params=wrong), 422, "invalid")


def test_a_click_is_told_to_the_feed(sign_in: SignIn, world: World) -> None:
    browser = sign_in("operator-1")
    with browser.feed() as feed:
        feed.next()
        run = browser.http.post(f"/api/scheduled-tasks/{world.tasks[0]}/run").json()
        message = feed.next()
    assert message["data"]["task_run_id"] == run["id"]
    assert (message["data"]["status"], message["data"]["host_id"]) == ("queued", world.hosts[0])


def test_a_task_is_made_changed_and_removed(sign_in: SignIn, world: World) -> None:
    http = sign_in("operator-1").http
    body = {"name": "Nightly", "host_id": world.hosts[0], "cron": "0 3 * * *", "timezone": "Europe/Berlin"}

    task = http.post("/api/scheduled-tasks", json=body).json()
    assert task["next_due_at"].endswith("Z")
    path = f"/api/scheduled-tasks/{task['id']}"
    assert http.patch(path, json={"enabled": False}).json()["next_due_at"] is None
    assert http.patch(path, json={"enabled": True, "cron": "*/5 * * * *"}).json()["cron"] == "*/5 * * * *"
    assert http.patch(path, json={"cron": None}).json()["next_due_at"] is None
    assert task["time_limit_minutes"] is None
    assert http.patch(path, json={"time_limit_minutes": 90}).json()["time_limit_minutes"] == 90
    assert http.patch(path, json={"name": "Weekly"}).json()["time_limit_minutes"] == 90
    assert http.post(f"{path}/run").json()["time_limit_minutes"] == 90
    assert http.patch(path, json={"time_limit_minutes": None}).json()["time_limit_minutes"] is None
    problem(http.patch(path, json={}), 422, "invalid")
    assert http.delete(path).status_code == 204
    problem(http.get(path), 404, "not_found")


@pytest.mark.parametrize("field", ["name", "timezone", "enabled"])
def test_a_change_to_nothing_is_refused(sign_in: SignIn, world: World, field: str) -> None:
    path = f"/api/scheduled-tasks/{world.tasks[0]}"
    (error,) = problem(sign_in("operator-1").http.patch(path, json={field: None}), 422, "invalid")["errors"]
    assert field in error["detail"]


def test_a_new_name_does_not_take_away_a_due_time_that_has_come(
    sign_in: SignIn, world: World, database: Database
) -> None:
    http = sign_in("operator-1").http
    path = f"/api/scheduled-tasks/{world.tasks[0]}"
    http.patch(path, json={"cron": "0 3 * * *"})
    database.execute("UPDATE scheduled_task SET next_due_at = '2026-01-01 03:00Z' WHERE cron IS NOT NULL")

    changed = http.patch(path, json={"name": "Renamed", "enabled": True}).json()

    assert (changed["name"], changed["next_due_at"]) == ("Renamed", "2026-01-01T03:00:00Z")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cron": "every day"}, "cron"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "* * * * *", "timezone": "Mars/Olympus"}, "timezone"),
        ({"cron": "* * * * *", "timezone": "../../etc/passwd"}, "timezone"),
        ({"host_id": 5}, "host_id"),
        ({"scan_type": "offline"}, "scan_type"),
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"time_limit_minutes": 0}, "time_limit_minutes"),
        ({"time_limit_minutes": 1441}, "time_limit_minutes"),
        ({"time_limit_minutes": 1.5}, "time_limit_minutes"),
        ({"time_limit_minutes": "30"}, "time_limit_minutes"),
    ],
)
def test_a_task_that_cannot_be_is_refused_with_the_field(
    sign_in: SignIn,
    world: World,
    database: Database,
    change: dict[str, Any],
    field: str,
) -> None:
    body = {"name": "Nightly", "host_id": world.hosts[0]} | change

    errors = problem(sign_in("operator-1").http.post("/api/scheduled-tasks", json=body), 422, "invalid")["errors"]

    assert [error["field"] for error in errors] == [field]
    assert database.execute("SELECT count(*) FROM scheduled_task") == [(2,)]


def test_users_are_managed_by_administrators(instance: InstanceProcess, sign_in: SignIn, world: World) -> None:
    http = sign_in("admin").http
    body = {"name": "new-user", "password": "a long enough password", "role": "viewer", "groups": ["group-1"]}

    made = http.post("/api/users", json=body)
    assert made.status_code == 201
    assert "password" not in made.text
    problem(http.post("/api/users", json=body), 409, "user_exists")
    browser = Browser(instance)
    assert browser.login("new-user", "a long enough password").status_code == 200

    path = f"/api/users/{made.json()['id']}"
    assert http.patch(path, json={"role": "operator", "groups": []}).json()["role"] == "operator"
    assert browser.http.get("/api/hosts").json()["items"] == []
    assert http.patch(path, json={"disabled": True}).json()["disabled"]
    problem(browser.http.get("/api/hosts"), 401, "not_signed_in")
    assert http.delete(path).status_code == 204
    problem(http.get(path), 404, "not_found")
    problem(http.delete(f"/api/users/{world.users['admin']}"), 409, "own_user")
    problem(http.patch(f"/api/users/{world.users['admin']}", json={"role": "viewer"}), 409, "own_user")


def test_a_short_password_is_refused_without_repeating_it(sign_in: SignIn) -> None:
    body = {"name": "new-user", "password": "s3cret", "role": "viewer"}
    response = sign_in("admin").http.post("/api/users", json=body)

    assert problem(response, 422, "invalid")["errors"][0]["field"] == "password"
    assert "s3cret" not in response.text


def test_the_overview_is_true_at_its_cursor(sign_in: SignIn, world: World) -> None:
    browser = sign_in("operator-1")
    run = browser.http.post(f"/api/scheduled-tasks/{world.tasks[0]}/run").json()

    overview = browser.http.get("/api/overview").json()

    assert [item["id"] for item in overview["running"]] == [run["id"]]
    assert [item["name"] for item in overview["hosts"]] == ["host-1"]
    with browser.feed(overview["cursor"]) as feed:
        feed.next()
        assert feed.next()["data"] == {"events": 0}


@pytest.mark.parametrize(("verb", "name"), [("check", "Test connection of"), ("reassess", "Assess")])
def test_a_host_is_tested_and_assessed_again_by_those_who_operate_it(
    sign_in: SignIn, world: World, database: Database, verb: str, name: str
) -> None:
    path = f"/api/hosts/{world.hosts[0]}/{verb}"
    problem(sign_in("viewer-1").http.post(path), 403, "forbidden")
    problem(sign_in("viewer-2").http.post(path), 404, "not_found")
    http = sign_in("operator-1").http
    problem(http.post(f"/api/hosts/{world.hosts[1]}/{verb}"), 404, "not_found")
    assert database.execute("SELECT count(*) FROM run") == [(0,)]
    before = http.get("/api/overview").json()["cursor"]
    answer = http.post(path)
    assert answer.status_code == 202
    run = answer.json()
    assert (run["kind"], run["status"], run["task_id"], run["host_id"]) == (verb, "queued", 0, world.hosts[0])
    assert run["task_name"].startswith(name)
    assert http.get(f"/api/runs/{run['id']}").json() == run
    assert http.get("/api/overview").json()["running"] == [run]
    (event,) = http.get("/api/notifications", params={"since": before}).json()["items"]
    assert (event["data"]["kind"], event["data"]["status"]) == (verb, "queued")
    assert http.post(f"/api/runs/{run['id']}/cancel").json()["kind"] == verb
