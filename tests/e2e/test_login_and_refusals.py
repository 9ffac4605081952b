"""Who may come in, and what everybody else is told."""

import ssl
from collections.abc import Callable

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from . import stack
from .conftest import Feed, Users
from .websocket import open_socket

SOCKET = f"wss://localhost:{stack.PORT}/api/ws"


def problem(answer: httpx.Response, status: int) -> dict[str, object]:
    """Check that an answer is a problem with a reason, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    body: dict[str, object] = answer.json()
    assert body["status"] == status
    assert body.get("detail") or body.get("title")
    return body


def test_a_wrong_password_is_refused_with_a_reason() -> None:
    with stack.client() as visitor:
        problem(visitor.post("/api/auth/login", json={"username": "admin", "password": "wrong"}), 401)
        assert not [name for name in visitor.cookies if "session" in name]


def test_the_session_cookie_is_bound_to_host_and_hidden_from_scripts() -> None:
    with stack.client() as visitor:
        answer = visitor.post("/api/auth/login", json={"username": "admin", "password": stack.admin_password()})
        cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("__Host-vuls_session"))
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
    assert not any(part.startswith("domain") for part in attributes)
    assert stack.admin_password() not in stack.sql("SELECT string_agg(token_hash::text, ',') FROM user_session")


@pytest.mark.parametrize("path", ["/api/runs", "/api/hosts", "/api/scheduled-tasks", "/api/notifications?since=x-1"])
def test_without_a_session_the_api_is_closed(path: str) -> None:
    with stack.client() as visitor:
        problem(visitor.get(path), 401)


def test_a_change_with_a_cookie_needs_a_listed_origin(admin: httpx.Client) -> None:
    problem(admin.post("/api/scheduled-tasks/1/run", headers={"Origin": "https://evil.example"}), 403)


def test_an_expired_cookie_is_refused(users: Users) -> None:
    session = users.make("e2e-expired", "viewer")
    assert session.get("/api/auth/me").status_code == 200
    stack.sql(
        "UPDATE user_session SET expires_at = now() - interval '1 second' FROM app_user"
        " WHERE app_user.id = user_id AND app_user.name = 'e2e-expired'"
    )
    problem(session.get("/api/auth/me"), 401)


@pytest.mark.parametrize(
    ("origin", "cookie", "status", "code"),
    [
        (stack.ORIGIN, False, 401, "not_signed_in"),
        ("https://evil.example", True, 403, "origin_refused"),
        (None, True, 403, "origin_refused"),
    ],
    ids=["no session", "foreign origin", "no origin"],
)
def test_a_refused_handshake_says_why(
    admin: httpx.Client, tls: ssl.SSLContext, origin: str | None, cookie: bool, status: int, code: str
) -> None:
    headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in admin.cookies.items())} if cookie else {}
    with pytest.raises(InvalidStatus) as refusal, open_socket(SOCKET, tls, origin, headers):
        pass
    assert refusal.value.response.status_code == status
    assert code.encode() in (refusal.value.response.body or b"")


@pytest.mark.parametrize("name", ["../../etc", "a b", "", "x" * 64, "<script>", "naïve"])
def test_a_host_name_that_cannot_be_one_is_refused_and_not_stored(admin: httpx.Client, name: str) -> None:
    before = stack.sql("SELECT count(*) FROM host")
    problem(admin.post("/api/hosts", json={"name": name, "address": "192.0.2.1"}), 422)
    assert stack.sql("SELECT count(*) FROM host") == before


def test_a_task_for_an_unknown_host_is_refused_and_not_stored(admin: httpx.Client) -> None:
    before = stack.sql("SELECT count(*) FROM scheduled_task")
    problem(admin.post("/api/scheduled-tasks", json={"name": "of nobody", "host_id": 4711}), 422)
    assert stack.sql("SELECT count(*) FROM scheduled_task") == before


@pytest.mark.parametrize("path", ["/api/hosts", "/api/scheduled-tasks"])
def test_malformed_json_is_a_problem_and_not_an_error(admin: httpx.Client, path: str) -> None:
    counts = "SELECT (SELECT count(*) FROM host), (SELECT count(*) FROM scheduled_task)"
    before = stack.sql(counts)
    problem(admin.post(path, content=b"{", headers={"Content-Type": "application/json"}), 400)
    assert stack.sql(counts) == before


@pytest.mark.parametrize("path", ["/api/hosts/4711", "/api/scheduled-tasks/4711", "/api/runs/4711", "/api/nothing"])
def test_what_is_not_there_is_a_problem(admin: httpx.Client, path: str) -> None:
    problem(admin.get(path), 404)


def test_a_forged_forwarding_header_changes_nothing(users: Users) -> None:
    users.make("e2e-forged", "viewer")
    with stack.client() as visitor:
        visitor.post(
            "/api/auth/login",
            json={"username": "e2e-forged", "password": "a long enough one for e2e-forged"},
            headers={"X-Forwarded-For": "203.0.113.77", "X-Real-IP": "203.0.113.77", "Forwarded": "for=203.0.113.77"},
        )
    addresses = stack.sql(
        "SELECT DISTINCT host(address) FROM user_session JOIN app_user u ON u.id = user_id WHERE u.name = 'e2e-forged'"
    )
    assert addresses
    assert "203.0.113.77" not in addresses


def test_a_viewer_learns_nothing_of_hosts_outside_its_groups(
    users: Users, admin: httpx.Client, feed: Callable[..., Feed]
) -> None:
    viewer = users.make("e2e-outsider", "viewer")
    assert viewer.get("/api/hosts").json()["items"] == []
    problem(viewer.get("/api/hosts/1"), 404)
    problem(viewer.post("/api/scheduled-tasks/1/run"), 404)
    outsider, insider = feed(viewer), feed(admin)
    run = stack.start_run(admin, 1)
    told = insider.update(run["id"], "success", timeout=120)
    # The two may be on different instances: the outsider's own has to have read as far.
    seen = outsider.all_until(told["id"])
    assert {message["type"] for message in seen} <= {"hello", "resumed", "heartbeat"}
