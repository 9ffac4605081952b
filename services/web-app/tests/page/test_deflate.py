"""Chromium with compression: it offers it by itself, and its own frames come compressed too."""

from playwright.sync_api import expect

from tests.page.conftest import OpenPage, StartInstance
from tests.page.edge import Relay
from tests.page.world import ASSESSED, World


def test_a_browser_agrees_to_compression_and_gets_every_event(
    world: World, open_page: OpenPage, relay: Relay, start_instance: StartInstance
) -> None:
    task = world.add_task("vuls-target-1")
    relay.target = start_instance(deflate=True).http_socket
    page = open_page()
    assert page.evaluate("window.ws.extensions").startswith("permessage-deflate")
    answer = page.evaluate(
        """() => new Promise((resolve) => {
            window.ws.addEventListener("message", (event) => event.data === "pong" && resolve(event.data));
            window.ws.send("ping");
        })"""
    )
    assert answer == "pong"
    for _ in range(3):
        run = world.scan(task, ASSESSED)
        expect(page.locator(f".toast[data-run-id='{run.id}']")).to_have_count(1)
