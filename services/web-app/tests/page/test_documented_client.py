"""The examples of docs/client.md work as they are written."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect
from typer.testing import CliRunner

from app.cli import cli
from tests.edge.process import InstanceProcess
from tests.page.conftest import OpenPage
from tests.page.edge import Relay
from tests.page.world import CLEAN, World
from tests.waiting import wait_until

APP = Path(__file__).parents[2]
DOCUMENT = (APP.parents[1] / "docs/client.md").read_text()
EXAMPLES = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
START = 30.0  # seconds in which a program is up, also on a slow day


def example(kind: str, beginning: str) -> str:
    """Return the example of a kind that begins so."""
    (text,) = (text for what, text in EXAMPLES if what == kind and text.startswith(beginning))
    return str(text)


def commands(beginning: str) -> list[str]:
    """Return the command lines of the example that begins so."""
    return [line.removeprefix("$ ") for line in example("console", beginning).splitlines()]


class Tool:
    """The folder and the shell of somebody who follows the examples."""

    def __init__(self, folder: Path, relay: Relay, authority: Path, token: str) -> None:
        self.folder = folder
        (folder / "token").write_text(token)
        (folder / "ca.crt").write_bytes(authority.read_bytes())
        self._site = relay.origin
        self._environment = os.environ | {
            "VULS_TOKEN": token,
            "VULS_URL": relay.origin,
            "NODE_EXTRA_CA_CERTS": str(authority),
            "CURL_CA_BUNDLE": str(authority),
            "PYTHONPATH": str(APP),
        }
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, command: str) -> None:
        """Run a command line to its end."""
        with self._start(command, "ignored") as process:
            assert process.wait(START) == 0, command

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start a command line. What it prints is in `printed`."""
        process = self._start(command, "out")
        self._running.append(process)
        return process

    @property
    def printed(self) -> list[str]:
        """The ids of the messages that it has printed in JSON."""
        return [json.loads(line)["id"] for line in (self.folder / "out").read_text().splitlines()]

    def stop(self) -> None:
        """End what still runs."""
        for process in self._running:
            process.kill()
            process.wait(10)

    def _start(self, command: str, out: str) -> subprocess.Popen[bytes]:
        vulsctl = f"{sys.executable} -c 'from app.cli import main; main()'"
        words = command.replace("https://vuls.example", self._site).replace("vulsctl", vulsctl)
        if re.search(r"\b(node|vulsctl) ", command):
            words = f"exec env {words}"  # so that it is the program that is ended
        with (self.folder / out).open("wb") as file:
            return subprocess.Popen(["/bin/sh", "-c", words], cwd=self.folder, env=self._environment, stdout=file)


@pytest.fixture
def tool(world: World, relay: Relay, authority: Path, tmp_path: Path) -> Iterator[Tool]:
    tool = Tool(tmp_path, relay, authority, world.make_token("admin"))
    yield tool
    tool.stop()


@pytest.fixture
def joined(running_instance: InstanceProcess) -> Callable[[], bool]:
    """Whether a client has joined since the test began."""

    def clients() -> int:
        with running_instance.admin() as admin:
            return int(admin.get("/status").json()["clients"])

    before = clients()
    return lambda: clients() > before


def test_the_page_of_another_tool_shows_what_happens_and_how_fresh_it_is(
    world: World, open_page: OpenPage, relay: Relay
) -> None:
    task = world.add_task("vuls-target-1")
    world.scan(task, CLEAN)
    page = open_page()

    def serve(route: Route) -> None:
        route.fulfill(body=example("html", "<!doctype html>"), content_type="text/html")

    # A page that the test answers for comes from nowhere, and Chromium asks whether it may reach this machine.
    page.context.grant_permissions(["local-network-access"])
    page.route("**/team/", serve)
    page.goto("/team/")
    expect(page.locator("#status")).to_have_text("live")
    expect(page.locator("#runs li")).to_have_text(["Scan vuls-target-1: success"])
    relay.cut()
    world.scan(task, CLEAN)
    told = [f"Scan vuls-target-1: {status}" for status in ("success", "started", "queued", "success")]
    expect(page.locator("#runs li")).to_have_text(told)
    expect(page.locator("#status")).to_have_text("live")


@pytest.mark.parametrize("name", ["follow.js", "events.js"])
def test_a_program_prints_each_event_once_whatever_breaks(
    world: World, relay: Relay, tool: Tool, joined: Callable[[], bool], name: str
) -> None:
    task = world.add_task("vuls-target-1")
    (tool.folder / name).write_text(example("js", f"// {name}\n"))
    *preparations, command = commands("$ curl")
    for preparation in preparations:
        tool.run(preparation)
    tool.start(command if name in command else f"node {name}")
    wait_until(joined, START, "a client on the instance")
    world.scan(task, CLEAN)
    wait_until(lambda: len(tool.printed) == 3, START, "three events")
    relay.cut()
    world.scan(task, CLEAN)
    wait_until(lambda: len(tool.printed) == 6, START, "six events")
    assert tool.printed == world.logged()
    if name == "follow.js":
        assert (tool.folder / "cursor.txt").read_text() == world.logged()[-1]


def test_the_commands_for_a_terminal_follow(world: World, tool: Tool, joined: Callable[[], bool]) -> None:
    task = world.add_task("vuls-target-1")
    site, endless, counted = commands("$ export VULS_URL")
    assert site == "export VULS_URL=https://vuls.example"
    first = tool.start(endless)
    wait_until(joined, START, "a client on the instance")
    first.kill()
    first.wait(10)
    world.queue(task)
    # The cursor of an earlier start: what came since is printed, however long the next one takes.
    (tool.folder / "cursor").write_text(world.logged()[0])
    world.scan(world.add_task("vuls-target-2"), CLEAN)
    assert tool.start(counted).wait(START) == 0
    assert tool.printed == world.logged()[1:3]


def test_the_page_names_the_options_of_watch() -> None:
    help_text = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(cli, ["watch", "--help"]).stdout
    offered = set(re.findall(r"--[a-z-]+", help_text)) - {"--help"}
    named = set(re.findall(r"`(--[a-z-]+)`", DOCUMENT.partition("## In a terminal")[2]))
    assert offered == named
