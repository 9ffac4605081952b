"""The page over a network that breaks: nothing is missed, nothing is repeated, and the header tells the truth."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.edge.process import InstanceProcess
from tests.page.conftest import OpenPage, StartInstance
from tests.page.edge import Relay
from tests.page.world import ASSESSED, FAILED, PASSWORD, World
from tests.services import Database


def state(page: Page) -> Locator:
    return page.locator("#connection")


def expect_state(page: Page, name: str, words: str = "") -> None:
    expect(state(page)).to_have_attribute("data-state", name)
    expect(state(page)).to_contain_text(words)


def note_states(page: Page) -> None:
    """Keep the states from here on: one that passes within milliseconds would not be seen from outside."""
    page.evaluate(
        """() => {
            const connection = document.getElementById("connection");
            const { dataset } = document.documentElement;
            const note = () => (dataset.states = `${dataset.states ?? ""} ${connection.dataset.state}`.trim());
            new MutationObserver(note).observe(connection, { attributeFilter: ["data-state"] });
        }"""
    )


def pass_time_until(page: Page, name: str) -> None:
    """Move the page's clock, in steps that leave the network time to answer, until the page is in a state."""
    for _ in range(120):
        if state(page).get_attribute("data-state") == name:
            return
        page.clock.run_for(1000)
        page.wait_for_timeout(100)
    pytest.fail(f"the page never became {name}")


def test_what_ended_while_the_network_was_down_arrives_once(world: World, open_page: OpenPage, relay: Relay) -> None:
    task = world.add_task("vuls-target-1")
    page = open_page()
    relay.down = True
    relay.cut()
    expect_state(page, "reconnecting", "Reconnecting")
    run = world.scan(task, ASSESSED)
    relay.mend()
    expect_state(page, "live", "Live")
    expect(page.locator(f"#recent [data-run-id='{run.id}']")).to_have_count(1)
    expect(page.locator(f".toast[data-run-id='{run.id}']")).to_have_count(1)
    assert page.evaluate("window.ws.readyState") == 1


def test_each_loss_is_followed_by_one_socket(open_page: OpenPage, relay: Relay) -> None:
    page = open_page()
    note_states(page)
    before = relay.handshakes
    relay.cut()
    expect(page.locator("html")).to_have_attribute("data-states", re.compile("^reconnecting connecting .*live$"))
    assert relay.handshakes == before + 1


def test_without_sockets_the_page_polls_and_returns_to_the_socket(
    world: World, open_page: OpenPage, relay: Relay
) -> None:
    task = world.add_task("vuls-target-1")
    page = open_page(clock=True)
    relay.sockets_down = True
    relay.cut()
    pass_time_until(page, "polling")
    expect_state(page, "polling", "Polling every 30 s")
    first = world.scan(task, FAILED)  # its toast stays while the clock is moved
    page.clock.run_for(31_000)
    expect(page.locator(f".toast[data-run-id='{first.id}']")).to_have_count(1)
    relay.mend()
    pass_time_until(page, "live")
    second = world.scan(task, ASSESSED)
    expect(page.locator("#recent [data-run-id]")).to_have_count(2)
    expect(page.locator(f".toast[data-run-id='{second.id}']")).to_have_count(1)


def test_an_instance_that_stops_hands_its_pages_over(
    world: World, open_page: OpenPage, relay: Relay, start_instance: StartInstance, running_instance: InstanceProcess
) -> None:
    task = world.add_task("vuls-target-1")
    leaving = start_instance()
    relay.target = leaving.http_socket
    page = open_page()
    relay.target = running_instance.http_socket
    leaving.stop()
    run = world.scan(task, ASSESSED)
    expect(page.locator(f".toast[data-run-id='{run.id}']")).to_have_count(1)
    expect_state(page, "live")


def test_who_was_away_for_too_long_gets_the_whole_state_anew(
    world: World, open_page: OpenPage, relay: Relay, database: Database
) -> None:
    task = world.add_task("vuls-target-1")
    world.queue(task)
    page = open_page()
    relay.down = True
    relay.cut()
    expect_state(page, "reconnecting")
    run = world.scan(world.add_task("vuls-target-2"), ASSESSED)
    database.execute("DELETE FROM event WHERE seq < (SELECT max(seq) FROM event)")
    relay.mend()
    expect_state(page, "live")
    expect(page.locator(f"#recent [data-run-id='{run.id}']")).to_have_count(1)
    expect(page.locator("tr[data-task-id]")).to_have_count(2)


def test_who_is_signed_out_elsewhere_is_told_and_can_come_back(world: World, open_page: OpenPage) -> None:
    page = open_page()
    world.sign_out_everywhere("admin")
    expect_state(page, "signed-out", "Signed out")
    page.get_by_role("link", name="Sign in again").click()
    page.wait_for_url(re.compile("/login"))  # with its scripts, which send the form
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect_state(page, "live")
