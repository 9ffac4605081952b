"""Fixtures of the end-to-end tests: sessions, sockets and a browser."""

import json
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from . import stack
from .websocket import Socket, open_socket

# What acts on the hosts most comes late, and after it the question whether they are as the deployment says.
LAST = ("test_scan_hosts", "test_converged")

expect.set_options(timeout=30_000)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes too long for make test; runs where VULS_TEST_LONG is set")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get("VULS_TEST_LONG"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)

    def place(item: pytest.Item) -> int:
        module = item.path.stem
        return LAST.index(module) if module in LAST else -1

    items.sort(key=place)


@pytest.fixture(scope="session")
def admin() -> Iterator[httpx.Client]:
    with closing(stack.sign_in("admin", stack.admin_password())) as session:
        yield session


@pytest.fixture(scope="session")
def tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(stack.CA))


@pytest.fixture(scope="session")
def schemas(tls: ssl.SSLContext) -> dict[str, Draft202012Validator]:
    with httpx.Client(base_url=stack.ORIGIN, verify=tls) as visitor:
        return read_schemas(visitor)


def read_schemas(visitor: httpx.Client) -> dict[str, Draft202012Validator]:
    """Read the published schema of each message, by its type."""
    document = visitor.get("/api/asyncapi.json").raise_for_status().json()
    published = {name: message["payload"] for name, message in document["components"]["messages"].items()}
    return {name: Draft202012Validator(payload["schema"]) for name, payload in published.items() if "schema" in payload}


class Feed:
    """A WebSocket client that remembers what it was told, and refuses what the published schemas do not allow."""

    def __init__(self, socket: Socket, schemas: dict[str, Draft202012Validator]) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []
        self._schemas = schemas

    def next(self, match: Callable[[dict[str, Any]], bool], timeout: float = 30) -> dict[str, Any]:
        """Return the next message that matches; everything read is kept in `seen`."""

        def read() -> dict[str, Any] | None:
            try:
                text = self.socket.recv(timeout=0.5)
            except TimeoutError:
                return None
            message = self._note(text)
            return message if match(message) else None

        return stack.wait_until(read, timeout=timeout, what="a message that matches", interval=0)

    def all_until_now(self, timeout: float = 30) -> list[dict[str, Any]]:
        """Return all that was ever read, up to the answer to a ping: the instance writes in order."""
        self.socket.send("ping")
        while (text := self.socket.recv(timeout=timeout)) != "pong":
            self._note(text)
        return self.seen

    def all_until(self, cursor: str, timeout: float = 60) -> list[dict[str, Any]]:
        """Return all that was ever read, up to a heartbeat that says that nothing up to `cursor` is missing."""
        self.next(lambda m: m["type"] == "heartbeat" and _sequence(m["id"]) >= _sequence(cursor), timeout)
        return self.seen

    def _note(self, text: str) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(text)
        self._schemas[message["type"]].validate(message)
        self.seen.append(message)
        return message

    def update(self, run_id: int, status: str, timeout: float = 30) -> dict[str, Any]:
        """Return the `task_update` of a run with a status."""
        return self.next(
            lambda m: (
                m["type"] == "task_update" and m["data"]["task_run_id"] == run_id and m["data"]["status"] == status
            ),
            timeout,
        )


def _sequence(cursor: str) -> int:
    """Return the place of a cursor in the log. Only tests look into it."""
    return int(cursor.rpartition("-")[2])


@pytest.fixture
def feed(tls: ssl.SSLContext, schemas: dict[str, Draft202012Validator]) -> Iterator[Callable[..., Feed]]:
    """Open feeds with the cookies of a session; all are closed afterwards."""
    with ExitStack() as opened:

        def open_feed(session: httpx.Client, since: str | None = None) -> Feed:
            cookies = "; ".join(f"{name}={value}" for name, value in session.cookies.items())
            url = f"wss://localhost:{stack.PORT}/api/ws" + (f"?since={since}" if since else "")
            socket = opened.enter_context(open_socket(url, tls, stack.ORIGIN, {"Cookie": cookies}))
            result = Feed(socket, schemas)
            result.next(lambda m: m["type"] == "hello")
            return result

        yield open_feed


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
                "--no-first-run",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    # The CA is not in the browser's store; the HTTP tests verify it.
    result = browser.new_context(ignore_https_errors=True, base_url=stack.ORIGIN)
    yield result
    result.close()


def wait_for_socket(page: Page, timeout: float = 30) -> None:
    """Wait until the page's socket is open; asked from outside, since the page may not evaluate strings."""
    stack.wait_until(
        lambda: page.evaluate("Boolean(window.ws && window.ws.readyState === 1)"),
        timeout=timeout,
        what="an open socket",
    )


def open_page(context: BrowserContext, name: str = "admin", password: str | None = None) -> Page:
    """Sign in through the form and wait for the live page."""
    page = context.new_page()
    page.goto("/")
    if page.url.rstrip("/") != stack.ORIGIN:
        page.get_by_label("User name").fill(name)
        page.get_by_label("Password").fill(password or stack.admin_password())
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(stack.ORIGIN + "/")
    wait_for_socket(page)
    return page


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return open_page(context)


class Users:
    """Makes users for a test and removes them afterwards."""

    def __init__(self, admin: httpx.Client) -> None:
        self.admin = admin
        self.made: list[int] = []

    def make(self, name: str, role: str, groups: list[str] | None = None) -> httpx.Client:
        """Create a user and return its session."""
        password = f"a long enough one for {name}"
        answer = self.admin.post(
            "/api/users", json={"name": name, "password": password, "role": role, "groups": groups or []}
        )
        assert answer.status_code == 201, answer.text
        self.made.append(answer.json()["id"])
        return stack.sign_in(name, password)


@pytest.fixture
def users(admin: httpx.Client) -> Iterator[Users]:
    factory = Users(admin)
    yield factory
    for user_id in factory.made:
        admin.delete(f"/api/users/{user_id}")
