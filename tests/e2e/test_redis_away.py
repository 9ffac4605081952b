"""Redis is the wake-up, not the truth: what happens while it is away is stored, shown and done, once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
from playwright.sync_api import Page, expect

from . import stack
from .conftest import Feed

UNIT = "redis-server"


@contextmanager
def redis_stopped() -> Iterator[None]:
    stack.must(stack.on("vuls-redis", "systemctl", "stop", UNIT))
    try:
        yield
    finally:
        stack.must(stack.on("vuls-redis", "systemctl", "start", UNIT))
        stack.wait_until(
            lambda: "PONG" in stack.on("vuls-redis", "redis-cli", "ping").stdout, timeout=60, what="an answer of Redis"
        )


def test_a_scan_ends_and_is_shown_within_six_seconds_while_redis_is_stopped(page: Page, admin: httpx.Client) -> None:
    since = stack.now("vuls-worker")
    run = stack.start_run(admin, 1)
    stack.wait_until(
        lambda: admin.get(f"/api/runs/{run['id']}").json()["status"] == "started", timeout=30, what="the scan's start"
    )
    with redis_stopped():
        ended = stack.finished(admin, run["id"])
        assert ended["status"] == "success"
        expect(page.locator(f".toast[data-run-id='{run['id']}'][data-status='success']")).to_be_visible(timeout=6_000)
        stack.wait_until(
            lambda: "Could not publish event" in stack.journal("vuls-worker", "vuls-worker@default", since),
            timeout=30,
            what="the worker's word of an event that was not published",
        )


def test_a_click_while_redis_is_stopped_is_accepted_and_done_later(admin: httpx.Client) -> None:
    with redis_stopped():
        run = stack.start_run(admin, 2)
        assert admin.get(f"/api/runs/{run['id']}").json()["status"] == "queued"
    ended = stack.finished(admin, run["id"], timeout=120)
    assert (ended["status"], ended["attempt"]) == ("success", 1)


def test_a_job_that_redis_lost_between_click_and_delivery_runs_once(
    admin: httpx.Client, feed: Callable[..., Feed]
) -> None:
    listener = feed(admin)
    stack.must(stack.on("vuls-worker", "systemctl", "stop", "vuls-worker@default"))
    try:
        run = stack.start_run(admin, 2)
        stack.wait_until(
            lambda: stack.sql(f"SELECT sent_at IS NOT NULL FROM run WHERE id = {run['id']}") == "t",
            timeout=30,
            what="the job's way to Redis",
        )
        stack.must(stack.on("vuls-redis", "redis-cli", "DEL", "scan.default"))
        stack.must(stack.on("vuls-redis", "systemctl", "kill", "-s", "KILL", UNIT))
        stack.wait_until(
            lambda: "PONG" in stack.on("vuls-redis", "redis-cli", "ping").stdout, timeout=60, what="Redis's return"
        )
    finally:
        stack.must(stack.on("vuls-worker", "systemctl", "start", "vuls-worker@default"))
    ended = stack.finished(admin, run["id"], timeout=120)
    assert (ended["status"], ended["attempt"]) == ("success", 1)
    listener.update(run["id"], "success")
    assert stack.sql(f"SELECT count(*) FROM scan WHERE run_id = {run['id']}") == "1"
