"""Sign-in: sessions, cookies, Origin, throttle, tokens."""

import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.edge.browser import Browser
from tests.edge.conftest import PASSWORD, Sessions, World
from tests.edge.process import InstanceProcess
from tests.services import Database

SignIn = Callable[..., Browser]
Start = Callable[..., InstanceProcess]


def test_the_cookie_is_bound_to_this_host_and_hidden_from_scripts(instance: InstanceProcess) -> None:
    cookie = Browser(instance).login("viewer-1", PASSWORD).headers["set-cookie"]

    assert cookie.startswith("__Host-vuls_session=")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
    assert not any(attribute.startswith("domain") for attribute in attributes)


def test_only_the_hash_of_the_cookie_is_stored(instance: InstanceProcess, database: Database) -> None:
    browser = Browser(instance)
    browser.login("viewer-1", PASSWORD)
    secret = browser.headers["Cookie"].partition("=")[2]

    assert database.execute("SELECT token_hash FROM user_session") == [(hashlib.sha256(secret.encode()).digest(),)]


def test_who_is_signed_in_is_told(world: World, sign_in: SignIn) -> None:
    assert sign_in("viewer-1").http.get("/api/auth/me").json() == {
        "id": world.users["viewer-1"],
        "name": "viewer-1",
        "role": "viewer",
        "groups": ["group-1"],
        "sees_all": False,
    }


@pytest.mark.parametrize(
    ("name", "password"), [("viewer-1", "wrong"), ("nobody", PASSWORD), ("viewer-1' OR 1=1 --", PASSWORD)]
)
def test_a_wrong_login_is_refused_without_saying_what_was_wrong(
    instance: InstanceProcess, name: str, password: str
) -> None:
    response = Browser(instance).login(name, password)

    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "login_failed"
    assert "set-cookie" not in response.headers


def test_a_disabled_user_cannot_sign_in(instance: InstanceProcess, database: Database) -> None:
    database.execute("UPDATE app_user SET disabled = true WHERE name = 'viewer-1'")

    assert Browser(instance).login("viewer-1", PASSWORD).json()["code"] == "login_failed"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE user_session SET expires_at = now()",
        "UPDATE user_session SET last_seen_at = now() - interval '1 day'",
        "DELETE FROM user_session",
        "UPDATE app_user SET disabled = true",
    ],
    ids=["absolute", "idle", "signed out", "disabled"],
)
def test_an_ended_session_is_refused(sign_in: SignIn, database: Database, change: str) -> None:
    browser = sign_in("viewer-1")
    database.execute(change)

    response = browser.http.get("/api/hosts")
    assert (response.status_code, response.json()["code"]) == (401, "not_signed_in")


def test_use_keeps_a_session_alive(sign_in: SignIn, database: Database) -> None:
    browser = sign_in("viewer-1")
    database.execute("UPDATE user_session SET last_seen_at = now() - interval '1 hour'")

    assert browser.http.get("/api/auth/me").status_code == 200
    assert database.execute("SELECT last_seen_at > now() - interval '1 minute' FROM user_session") == [(True,)]


def test_a_login_ends_the_session_that_came_along(sign_in: SignIn, database: Database) -> None:
    browser = sign_in("viewer-1")
    before = browser.headers["Cookie"]

    browser.login("viewer-1", PASSWORD)

    assert browser.headers["Cookie"] != before
    assert database.execute("SELECT count(*) FROM user_session") == [(1,)]


def test_signing_out_ends_the_session(sign_in: SignIn, database: Database) -> None:
    browser = sign_in("viewer-1")

    assert browser.http.post("/api/auth/logout").status_code == 204
    assert browser.http.get("/api/auth/me").status_code == 401
    assert database.execute("SELECT count(*) FROM user_session") == [(0,)]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None], ids=["foreign", "opaque", "absent"])
def test_a_change_with_a_cookie_needs_a_listed_origin(
    sign_in: SignIn, world: World, database: Database, origin: str | None
) -> None:
    browser = sign_in("operator-1")
    del browser.http.headers["origin"]
    if origin:
        browser.http.headers["origin"] = origin

    response = browser.http.post(f"/api/scheduled-tasks/{world.tasks[0]}/run")

    assert (response.status_code, response.json()["code"]) == (403, "origin_refused")
    assert database.execute("SELECT count(*) FROM run") == [(0,)]
    assert browser.http.get("/api/hosts").status_code == 200


def test_another_site_cannot_sign_a_browser_in(instance: InstanceProcess) -> None:
    response = Browser(instance, origin="https://evil.example").login("viewer-1", PASSWORD)

    assert (response.status_code, response.json()["code"]) == (403, "origin_refused")


def test_a_token_needs_no_origin_and_can_be_revoked(
    instance: InstanceProcess, sign_in: SignIn, world: World, database: Database
) -> None:
    admin = sign_in("admin")
    made = admin.http.post("/api/tokens", json={"user": "operator-1", "name": "CI"}).json()
    tool = Browser(instance, origin=None)
    tool.use_token(made["token"])

    assert tool.http.post(f"/api/scheduled-tasks/{world.tasks[0]}/run").status_code == 202
    assert database.execute("SELECT token_hash FROM api_token") == [(hashlib.sha256(made["token"].encode()).digest(),)]
    assert made["token"] not in admin.http.get("/api/tokens").text

    assert admin.http.delete(f"/api/tokens/{made['id']}").status_code == 204
    assert tool.http.get("/api/hosts").status_code == 401


def test_a_token_whose_time_is_over_is_refused(instance: InstanceProcess, sign_in: SignIn, database: Database) -> None:
    tool = Browser(instance, origin=None)
    body = {"user": "operator-1", "name": "CI", "days": 1}
    tool.use_token(sign_in("admin").http.post("/api/tokens", json=body).json()["token"])
    assert tool.http.get("/api/hosts").status_code == 200

    database.execute("UPDATE api_token SET expires_at = now()")

    response = tool.http.get("/api/hosts")
    assert (response.status_code, response.json()["code"]) == (401, "not_signed_in")


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic YTpi", "nonsense"])
def test_a_wrong_authorization_header_is_refused_whatever_cookie_comes_along(sign_in: SignIn, header: str) -> None:
    assert sign_in("viewer-1").http.get("/api/hosts", headers={"Authorization": header}).status_code == 401


@pytest.fixture(scope="module")
def strict(start_instance: Start) -> InstanceProcess:
    """An instance that stands three failures."""
    return start_instance(login_attempts=3)


@pytest.mark.parametrize("same", ["name", "address"])
def test_failures_of_a_name_or_an_address_are_throttled(
    strict: InstanceProcess, world: World, database: Database, same: str
) -> None:
    assert world
    answers: list[Any] = []
    for number in range(4):
        name = "viewer-1" if same == "name" else f"name-{number}"
        address = "198.51.100.7" if same == "address" else f"198.51.100.{number}"
        answers.append(Browser(strict).login(name, "wrong", **{"X-Forwarded-For": address}))

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert 0 < int(answers[3].headers["Retry-After"]) <= 300
    right = Browser(strict).login("viewer-1", PASSWORD, **{"X-Forwarded-For": "198.51.100.7"})
    assert right.status_code == 429
    other = Browser(strict).login("viewer-2", PASSWORD, **{"X-Forwarded-For": "203.0.113.1"})
    assert other.status_code == 200
    database.execute("UPDATE login_failure SET failed_at = failed_at - interval '5 minutes'")
    later = Browser(strict).login("viewer-1", PASSWORD, **{"X-Forwarded-For": "198.51.100.7"})
    assert later.status_code == 200


def test_the_many_addresses_of_one_ipv6_customer_are_throttled_as_one(strict: InstanceProcess, world: World) -> None:
    assert world
    headers = [{"X-Forwarded-For": f"2001:db8:1:2::{number}"} for number in range(1, 5)]
    answers = [Browser(strict).login(f"name-{number}", "wrong", **one) for number, one in enumerate(headers)]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    neighbour = Browser(strict).login("viewer-2", PASSWORD, **{"X-Forwarded-For": "2001:db8:1:3::1"})
    assert neighbour.status_code == 200


def test_many_guesses_at_the_same_moment_get_no_more_tries(strict: InstanceProcess, world: World) -> None:
    assert world
    with ThreadPoolExecutor(12) as pool:
        guesses = pool.map(lambda number: Browser(strict).login("viewer-1", f"guess {number}").status_code, range(12))

    assert sorted(guesses).count(401) <= 3


def test_the_stored_address_is_the_one_that_the_edge_set(instance: InstanceProcess, database: Database) -> None:
    Browser(instance).login("viewer-1", PASSWORD, **{"X-Forwarded-For": "198.51.100.7"})

    assert database.execute("SELECT host(address) FROM user_session") == [("198.51.100.7",)]


def test_nothing_secret_reaches_the_log(instance: InstanceProcess, web_sessions: Sessions) -> None:
    assert web_sessions
    browser = Browser(instance)
    browser.login("viewer-1", PASSWORD)
    browser.login("viewer-1", "a wrong and private password")

    log = instance.log
    assert PASSWORD not in log
    assert "a wrong and private password" not in log
    assert browser.headers["Cookie"].partition("=")[2] not in log
    assert not re.search(r"Traceback", log)
