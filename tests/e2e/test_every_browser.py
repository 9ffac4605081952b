"""Every browser that may see a host gets every event, whichever instance it is on."""

import re
from collections.abc import Callable

import httpx
from playwright.sync_api import Browser, BrowserContext, Page, expect

from . import stack
from .conftest import Feed, Users, open_page, wait_for_socket


def instance_of(session: httpx.Client) -> str:
    """Return the route id that the balancer gave a session."""
    session.get("/health").raise_for_status()
    return next(value for name, value in session.cookies.items() if "route" in name)


def test_two_tabs_of_one_user_and_tabs_of_another_all_get_the_event(
    context: BrowserContext, browser: Browser, admin: httpx.Client, users: Users
) -> None:
    users.make("e2e-second", "admin").close()
    other = browser.new_context(ignore_https_errors=True, base_url=stack.ORIGIN)
    pages: list[Page] = [open_page(context), open_page(context)]
    pages += [open_page(other, "e2e-second", "a long enough one for e2e-second") for _ in range(2)]
    try:
        run = stack.start_run(admin, 1)
        for page in pages:
            toast = page.locator(f".toast[data-run-id='{run['id']}'][data-status='success']")
            expect(toast).to_have_count(1, timeout=120_000)
    finally:
        other.close()


def test_feeds_on_all_four_instances_get_every_event_once_and_in_order(
    admin: httpx.Client, feed: Callable[..., Feed]
) -> None:
    feeds: dict[str, Feed] = {}
    password = stack.admin_password()

    def spread() -> bool:
        session = stack.sign_in("admin", password)
        route = instance_of(session)
        if route not in feeds:
            feeds[route] = feed(session)
        return len(feeds) == len(stack.INSTANCES)

    # Signing in is not throttled when it succeeds; the hash spreads new visitors over the instances.
    stack.wait_until(spread, timeout=180, what="a feed on each instance", interval=0)
    runs = [stack.start_run(admin, task) for task in (1, 2)]
    for run in runs:
        stack.finished(admin, run["id"])
    told = []
    for listener in feeds.values():
        for run in runs:
            if not any(
                m["type"] == "task_update"
                and m["data"]["task_run_id"] == run["id"]
                and m["data"]["status"] == "success"
                for m in listener.seen
            ):
                listener.update(run["id"], "success")
        wanted = {run["id"] for run in runs}
        told.append(
            [m["id"] for m in listener.seen if m["type"] == "task_update" and m["data"]["task_run_id"] in wanted]
        )
    assert all(ids == told[0] for ids in told), told
    assert len(told[0]) == len(set(told[0])) == 6
    sequences = [int(i.rpartition("-")[2]) for i in told[0]]
    assert sequences == sorted(sequences)


def test_the_cookie_keeps_a_client_on_its_instance() -> None:
    with stack.client() as visitor:
        first = visitor.get("/readyz").json()["instance"]
        for _ in range(20):
            answer = visitor.get("/readyz")
            assert answer.json()["instance"] == first
            assert not any("route" in cookie for cookie in answer.headers.get_list("set-cookie")), "set when it changes"


def test_the_cookie_moves_a_client_when_its_instance_dies_and_the_page_goes_on(page: Page, admin: httpx.Client) -> None:
    served = page.evaluate("fetch('/readyz').then(r => r.json())")
    instance = served["instance"]
    host, _, number = instance.partition(":")
    assert re.fullmatch(r"vuls-web-[12]:[12]", instance)
    stack.must(stack.on(host, "systemctl", "stop", f"vuls-web@{number}"))
    try:
        wait_for_socket(page)
        moved = stack.wait_until(
            lambda: page.evaluate("fetch('/readyz').then(r => r.ok ? r.json() : null)"),
            timeout=60,
            what="an answer of another instance",
        )
        assert moved["instance"] != instance
        run = stack.start_run(admin, 2)
        expect(page.locator(f".toast[data-run-id='{run['id']}'][data-status='success']")).to_have_count(
            1, timeout=120_000
        )
    finally:
        stack.start_instance(instance)


def test_a_feed_resumes_with_exactly_what_it_missed(admin: httpx.Client, feed: Callable[..., Feed]) -> None:
    first = feed(admin)
    cursor = first.seen[0]["id"]
    first.socket.close()
    run = stack.start_run(admin, 2)
    stack.finished(admin, run["id"])
    second = feed(admin, since=cursor)
    second.update(run["id"], "success")
    updates = [
        m["data"]["status"] for m in second.seen if m["type"] == "task_update" and m["data"]["task_run_id"] == run["id"]
    ]
    assert updates == ["queued", "started", "success"]
    listed = admin.get("/api/notifications", params={"since": cursor}).json()
    seen = [m["id"] for m in second.seen if m["type"] == "task_update"]
    assert seen == [item["id"] for item in listed["items"]][: len(seen)], "polling tells the same"


def test_a_cursor_of_another_history_is_answered_with_a_resync(admin: httpx.Client, feed: Callable[..., Feed]) -> None:
    listener = feed(admin, since="zzzz-1")
    if not any(m["type"] == "resync_required" for m in listener.seen):
        listener.next(lambda m: m["type"] == "resync_required")
