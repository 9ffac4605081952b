"""Whether what the page shows is true, in words that a reader understands, while parts of the system are away."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.edge.forwarder import Forwarder
from tests.edge.process import InstanceProcess, eventually
from tests.page.conftest import OpenPage, StartInstance
from tests.page.edge import Relay
from tests.page.test_connection import expect_state, pass_time_until
from tests.page.world import ASSESSED, CLEAN, COUNTS, NOT_ASSESSED, World
from tests.services import Database

STALE = re.compile(r"[Ss]tale since \d\d:\d\d:\d\d$")
FOUND = {**ASSESSED, **COUNTS, "critical": 0, "vulnerabilities": 7}  # nothing that is told alone


@dataclass
class Fragile:
    """An instance whose Redis and whose database a test can take away."""

    instance: InstanceProcess
    redis: Forwarder
    database: Forwarder


@pytest.fixture(scope="module")
def shared_fragile(session_database: Database, relay: Relay) -> Iterator[Fragile]:
    settings = session_database.settings("web")
    redis = Forwarder(settings.redis_host, settings.redis_port)
    database = Forwarder(settings.database_host, settings.database_port)
    instance = InstanceProcess(
        session_database,
        allowed_origins=(relay.origin,),
        redis_host="127.0.0.1",
        redis_port=redis.port,
        database_host="127.0.0.1",
        database_port=database.port,
    )
    try:
        instance.wait_ready()
        yield Fragile(instance, redis, database)
    finally:
        instance.remove()
        redis.cut()
        database.cut()


@pytest.fixture
def fragile(world: World, relay: Relay, shared_fragile: Fragile) -> Fragile:
    """A whole network between the page, this instance and what it needs; the instance has read the whole log."""
    relay.target = shared_fragile.instance.http_socket
    newest = world.notify("first")
    with shared_fragile.instance.admin() as admin:
        eventually(lambda: admin.get("/status").json()["cursor"] == newest)
    return shared_fragile


class Peer:
    """The server's end of the page's sockets, in the hands of a test."""

    def __init__(self, page: Page) -> None:
        self.sockets: list[WebSocketRoute] = []
        self._page = page
        page.route_web_socket("**/api/ws**", self._take)
        page.reload()
        self.wait_for(1)

    def _take(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)

    def wait_for(self, number: int) -> None:
        """Wait until the page has opened so many sockets."""
        while len(self.sockets) < number:
            self._page.wait_for_timeout(20)

    def say(self, kind: str, data: Any, cursor: str | None = None) -> None:
        """Send a message over the newest socket."""
        place = {} if cursor is None else {"id": cursor}
        self.sockets[-1].send(json.dumps({"type": kind, "data": data} | place))


def help_text(page: Page) -> str:
    """Open the explanation of the state, and return it."""
    page.locator("#connection").click()
    expect(page.locator("#connection-help")).to_be_visible()
    words = page.locator("#connection-help").inner_text()
    page.keyboard.press("Escape")
    expect(page.locator("#connection-help")).to_be_hidden()
    return words


def test_without_redis_the_page_is_delayed_and_shows_what_happens(
    world: World, fragile: Fragile, open_page: OpenPage
) -> None:
    task = world.add_task("vuls-target-1")
    page = open_page()
    fragile.redis.cut()
    expect_state(page, "delayed", "Live, up to 2 s late")
    expect(page.locator("#connection-announcement")).to_have_text("Updates come up to 2 seconds late.")
    assert "Redis" in help_text(page)
    run = world.scan(task, CLEAN)
    expect(page.locator(f".toast[data-run-id='{run.id}']")).to_have_count(1)
    fragile.redis.mend()
    expect_state(page, "live", "Live")
    expect(page.locator("#connection-announcement")).to_have_text("Connected: updates are live.")


def test_without_its_database_the_page_is_stale_since_then_and_shows_what_it_missed(
    world: World, fragile: Fragile, open_page: OpenPage
) -> None:
    task = world.add_task("vuls-target-1")
    page = open_page()
    fragile.database.cut()
    expect_state(page, "stale")
    expect(page.locator("#connection-text")).to_have_text(STALE)
    expect(page.locator("#connection-announcement")).to_have_text(
        re.compile(r"^The server cannot read its database: not up to date since \d\d:\d\d:\d\d\.$")
    )
    assert re.match(r"What you see is as of \d\d:\d\d:\d\d\. .*cannot read its database", help_text(page))
    run = world.scan(task, CLEAN)
    fragile.database.mend()
    expect_state(page, "live", "Live")
    expect(page.locator(f".toast[data-run-id='{run.id}']")).to_have_count(1)


def test_a_lost_connection_says_since_when_until_the_page_has_caught_up(open_page: OpenPage, relay: Relay) -> None:
    page = open_page()
    relay.down = True
    relay.cut()
    expect_state(page, "reconnecting", "Reconnecting")
    expect(page.locator("#connection-text")).to_have_text(STALE)
    since = STALE.findall(page.locator("#connection-text").inner_text())
    page.wait_for_timeout(1500)  # it is the same moment a while later
    assert STALE.findall(page.locator("#connection-text").inner_text()) == since
    relay.mend()
    expect_state(page, "live")
    expect(page.locator("#connection-text")).to_have_text("Live")


def test_a_server_that_is_away_for_long_is_named_with_the_time(open_page: OpenPage, relay: Relay) -> None:
    page = open_page(clock=True)
    relay.down = True
    relay.cut()
    pass_time_until(page, "unreachable")
    expect(page.locator("#connection-text")).to_have_text(re.compile(f"^Server not reachable, {STALE.pattern}"))
    relay.mend()
    pass_time_until(page, "live")


def test_missed_events_are_caught_up_before_the_page_is_live(open_page: OpenPage) -> None:
    page = open_page()
    peer = Peer(page)
    peer.say("hello", {}, "e-9")
    expect_state(page, "catching-up", "Catching up")
    peer.say("resumed", {"events": 1}, "e-1")
    expect_state(page, "catching-up", "Catching up")
    expect(page.locator("#connection-announcement")).to_have_text("Reading what was missed.")
    peer.say("task_progress", {"task_run_id": 0, "phase": "starting"}, "e-2")
    expect_state(page, "live", "Live")
    peer.say("heartbeat", None, "e-2")  # of an older server
    expect_state(page, "live", "Live")


def test_an_open_socket_that_says_nothing_is_stale_since_its_last_message(open_page: OpenPage) -> None:
    page = open_page(clock=True)
    peer = Peer(page)
    clock = "new Date().toTimeString().slice(0, 8)"
    before = page.evaluate(clock)
    peer.say("hello", {}, "e-9")
    peer.say("resumed", {"events": 0}, "e-1")
    expect_state(page, "live")
    after = page.evaluate(clock)
    page.clock.run_for(46_000)
    expect(page.locator("#connection-text")).to_have_text(STALE)
    assert before <= page.locator("#connection-text").inner_text()[-8:] <= after
    pass_time_until(page, "connecting")
    peer.wait_for(2)
    peer.say("hello", {}, "e-9")
    peer.say("resumed", {"events": 0}, "e-1")
    expect_state(page, "live", "Live")


def test_a_short_break_is_not_announced(open_page: OpenPage, relay: Relay) -> None:
    page = open_page()
    announcement = page.locator("#connection-announcement")
    expect(announcement).to_have_text("Connected: updates are live.")
    page.evaluate(
        "new MutationObserver((all) => (window.announced = (window.announced ?? 0) + all.length))"
        ".observe(document.getElementById('connection-announcement'), { childList: true })"
    )
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    relay.cut()
    expect_state(page, "reconnecting")
    page.clock.run_for(600)
    assert page.evaluate("window.announced ?? 0") == 0
    page.clock.resume()
    expect_state(page, "live")


def test_many_scans_that_end_together_are_one_toast_with_the_runs_behind_it(
    world: World, open_page: OpenPage, relay: Relay, start_instance: StartInstance
) -> None:
    relay.target = start_instance(digest_rate=50).http_socket
    tasks = [world.add_task(f"host-{number}") for number in range(60)]
    page = open_page()
    runs = [world.start(world.queue(task, publish=False), publish=False) for task in tasks]
    expect(page.locator("#running [data-run-id]")).to_have_count(60)
    world.end_together(runs, [FOUND] * 40 + [CLEAN] * 17 + [NOT_ASSESSED] * 3)

    toast = page.locator(".toast[data-digest]")
    expect(toast).to_have_count(1)
    toast.hover()  # it stays while somebody looks at it
    expect(toast.locator(".toast-title")).to_have_text("60 scans finished")
    expect(toast).to_contain_text("57 assessed: 280 vulnerabilities")
    expect(toast).to_contain_text("3 not assessed")
    expect(toast.locator(".badge")).to_have_text(["80 high", "120 medium", "40 low", "40 unknown"])
    expect(page.locator(".toast")).to_have_count(1)
    expect(page.locator("#running [data-run-id]")).to_have_count(0)
    expect(page.locator("#recent [data-run-id]")).to_have_count(50)
    expect(page.locator(f"tr[data-task-id='{tasks[0].id}']")).to_contain_text("7 vulnerabilities")

    toast.get_by_role("link", name="Show the runs").click()
    dialog = page.get_by_role("dialog", name="Finished together")
    expect(dialog.locator("[data-run-id]")).to_have_count(60)
    expect(dialog).to_contain_text("60 runs")
    dialog.get_by_role("link", name=re.compile(f"run {runs[-1].id}$")).click()
    expect(page.get_by_role("dialog", name="Scan host-59")).to_contain_text("Not assessed")
    expect(dialog).to_be_hidden()


def test_progress_is_shown_where_the_run_is_and_makes_no_toast(world: World, open_page: OpenPage) -> None:
    run = world.start(world.queue(world.add_task("vuls-target-1")))
    page = open_page()
    row = page.locator(f"#running [data-run-id='{run.id}']")
    expect(row).to_contain_text("Scanning")
    world.progress(run, "collecting_packages", None)
    expect(row).to_contain_text("Collecting packages")
    expect(row.get_by_role("progressbar")).to_have_count(0)
    world.progress(run, "matching", 40)
    expect(row.get_by_role("progressbar")).to_have_attribute("value", "40")
    expect(row).to_contain_text("40 %")
    expect(page.locator(".toast")).to_have_count(0)
    world.end(run, "success", CLEAN)
    expect(page.locator("#running [data-run-id]")).to_have_count(0)
