"""A drained instance gives its clients away through the balancer: the cookie that named it leads to another one."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, WebSocket, expect
from websockets.exceptions import ConnectionClosed

from . import stack
from .conftest import Feed, open_page, wait_for_socket

SECONDS = 2  # that a drain is given
MOVED = 5  # seconds until a client is at another instance
GREETED = 30  # seconds until an open socket is greeted, on a busy machine


@contextmanager
def drained(instance: str) -> Iterator[None]:
    """Drain an instance, which goes on running, and bring it back behind the block."""
    host, _, number = instance.partition(":")
    stack.must(stack.on(host, "vulsctl", "drain", number, "--seconds", str(SECONDS)))
    try:
        yield
        running = json.loads(stack.on(host, "vulsctl", "status", "--json").stdout)["items"]
        (state,) = (row for row in running if row["instance"] == instance)
        assert (state["reason"], state["clients"]) == ("draining", 0), "it runs, and has no clients"
    finally:
        stack.start_instance(instance)
        stack.wait_until(
            lambda: stack.on(host, "vulsctl", "status").returncode == 0, timeout=60, what=f"{instance} ready again"
        )


def instance_of(feed: Feed) -> str:
    """Return who greeted a feed."""
    return str(next(m for m in feed.seen if m["type"] == "hello")["data"]["instance"])


def hellos(context: BrowserContext) -> list[dict[str, Any]]:
    """Return the list that every `hello` of the pages to come will be in."""
    seen: list[dict[str, Any]] = []

    def read(payload: str | bytes) -> None:
        if (message := json.loads(payload) if payload != "pong" else {}).get("type") == "hello":
            seen.append(message)

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", read)

    def watch(page: Page) -> None:
        page.on("websocket", listen)

    context.on("page", watch)
    return seen


def test_a_cookie_that_names_a_drained_instance_leads_to_another_one_and_is_renewed(
    feed: Callable[..., Feed],
) -> None:
    with closing(stack.sign_in("admin", stack.admin_password())) as session:
        first = feed(session)
        left = instance_of(first)
        assert session.get("/readyz").json()["instance"] == left, "the cookie binds"
        with drained(left):
            assert any(m["type"] == "reconnect" for m in first.seen) or first.next(lambda m: m["type"] == "reconnect")
            with pytest.raises(ConnectionClosed) as closed:
                first.next(lambda _: False)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            second = feed(session)
            assert instance_of(second) != left
            renewed = second.socket.set_cookies()
            assert any("route" in name for name in renewed), "the handshake's answer renews the cookie"
            for name, value in renewed.items():
                session.cookies.set(name, value, domain="localhost.local", path="/")
            assert session.get("/readyz").json()["instance"] == instance_of(second)


@pytest.mark.parametrize("path", ["/api/events", "/api/events?since=zzzz-1"])
def test_an_event_stream_of_a_drained_instance_is_taken_by_another_one(path: str) -> None:
    with closing(stack.sign_in("admin", stack.admin_password())) as session:
        left = session.get("/readyz").raise_for_status().json()["instance"]
        with drained(left), session.stream("GET", path) as stream:
            assert stream.status_code == 200
            hello = next(json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:"))
            assert (hello["type"], hello["data"]["instance"] == left) == ("hello", False)


def test_a_page_moves_from_a_drained_instance_within_seconds_and_goes_on(
    context: BrowserContext, admin: httpx.Client
) -> None:
    greeted = hellos(context)
    page = open_page(context)
    # a socket that is open has not been greeted yet
    stack.wait_until(lambda: page.evaluate("1") and greeted, timeout=GREETED, what="the page's first hello")
    left = greeted[-1]["data"]["instance"]
    with drained(left):
        moved = stack.wait_until(
            lambda: page.evaluate("1") and greeted[-1]["data"]["instance"] != left and greeted[-1],
            timeout=MOVED,
            what="a hello of another instance",
        )
        wait_for_socket(page)
        answer = page.evaluate("fetch('/readyz').then(r => r.json())")
        assert answer["instance"] == moved["data"]["instance"], "the browser took the new cookie"
        greeted.clear()
        page.reload()
        wait_for_socket(page)
        again = stack.wait_until(lambda: page.evaluate("1") and greeted, timeout=GREETED, what="a hello after a reload")
        assert again[-1]["data"]["instance"] != left
        run = stack.start_run(admin, 1)
        toast = page.locator(f".toast[data-run-id='{run['id']}'][data-status='success']")
        expect(toast).to_have_count(1, timeout=120_000)
