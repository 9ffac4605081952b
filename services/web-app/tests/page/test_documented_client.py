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
from tests.page.conftest import OpenPage, StartInstance
from tests.page.edge import Relay
from tests.page.world import CLEAN, World
from tests.services import Database
from tests.waiting import wait_until

APP = Path(__file__).parents[2]
DOCUMENT = (APP.parents[1] / "docs/client.md").read_text()
EXAMPLES = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
START = 60.0  # seconds in which a program is up, also on a slow day


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
            "PYTHONUNBUFFERED": "1",
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

    def follow_in_python(self) -> subprocess.Popen[bytes]:
        """Start the client in Python as its example says."""
        (self.folder / "follow.py").write_text(example("python", "# follow.py\n"))
        _, command = commands("$ python3 -m venv venv")
        return self.start(command)

    @property
    def said(self) -> str:
        """What the last program has said on standard error."""
        return (self.folder / "err").read_text()

    @property
    def printed(self) -> list[str]:
        """The ids of the messages that it has printed in JSON."""
        return [json.loads(line)["id"] for line in (self.folder / "out").read_text().splitlines()]

    def wait_for_cursor(self, cursor: str) -> None:
        """Wait until the last program has kept it in its file, which it does after it has printed."""
        file = self.folder / "cursor.txt"
        wait_until(lambda: file.read_text() == cursor, START, "the last cursor in the file")

    def stop(self) -> None:
        """End what still runs."""
        for process in self._running:
            process.kill()
            process.wait(10)

    def _start(self, command: str, out: str) -> subprocess.Popen[bytes]:
        vulsctl = f"{sys.executable} -c 'from app.cli import main; main()'"
        words = command.replace("https://vuls.example", self._site).replace("vulsctl", vulsctl)
        words = words.replace("venv/bin/python", sys.executable)
        if re.search(r"\b(node|vulsctl|python) ", command):
            words = f"exec env {words}"  # so that it is the program that is ended
        with (self.folder / out).open("ab") as file, (self.folder / "err").open("wb") as said:
            return subprocess.Popen(
                ["/bin/sh", "-c", words], cwd=self.folder, env=self._environment, stdout=file, stderr=said
            )


@pytest.fixture
def tool(world: World, relay: Relay, authority: Path, tmp_path: Path) -> Iterator[Tool]:
    tool = Tool(tmp_path, relay, authority, world.make_token("admin"))
    yield tool
    tool.stop()


@pytest.fixture
def joined(running_instance: InstanceProcess) -> Callable[[], bool]:
    """Whether a client has joined since the test began, after those of tests before have left."""

    def clients() -> int:
        with running_instance.admin() as admin:
            return int(admin.get("/status").json()["clients"])

    wait_until(lambda: clients() == 0, START, "the end of earlier clients")
    return lambda: clients() > 0


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


@pytest.mark.parametrize("name", ["follow.js", "events.js", "follow.py"])
def test_a_program_prints_each_event_once_whatever_breaks(
    world: World, relay: Relay, tool: Tool, joined: Callable[[], bool], name: str
) -> None:
    task = world.add_task("vuls-target-1")
    if name == "follow.py":
        tool.follow_in_python()
    else:
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
    if name != "events.js":
        tool.wait_for_cursor(world.logged()[-1])


def test_the_client_in_python_keeps_its_cursor_through_a_drain_and_its_own_end(
    world: World, relay: Relay, tool: Tool, running_instance: InstanceProcess, start_instance: StartInstance
) -> None:
    task = world.add_task("vuls-target-1")
    leaving = start_instance()
    relay.target = leaving.http_socket
    first = tool.follow_in_python()
    wait_until(lambda: "state at" in tool.said, START, "the state")
    world.scan(task, CLEAN)
    wait_until(lambda: len(tool.printed) == 3, START, "three events")
    relay.target = running_instance.http_socket
    with leaving.admin() as admin:
        admin.post("/drain", params={"seconds": 1}).raise_for_status()
    leaving.stop()
    world.scan(task, CLEAN)
    wait_until(lambda: len(tool.printed) == 6, START, "six events")
    assert "the instance is about to stop; coming back in" in tool.said
    tool.wait_for_cursor(world.logged()[-1])
    first.kill()
    first.wait(10)
    world.scan(task, CLEAN)
    tool.follow_in_python()
    wait_until(lambda: len(tool.printed) == 9, START, "nine events")
    assert tool.printed == world.logged()


def test_the_client_in_python_begins_anew_where_events_cannot_be_told(
    world: World, tool: Tool, database: Database
) -> None:
    task = world.add_task("vuls-target-1")
    world.scan(task, CLEAN)
    (tool.folder / "cursor.txt").write_text(world.logged()[0])
    database.execute("DELETE FROM event WHERE seq < (SELECT max(seq) FROM event)")
    tool.follow_in_python()
    wait_until(lambda: "state at" in tool.said, START, "the state")
    assert "events cannot be told: too_old; coming back in" in tool.said
    world.scan(task, CLEAN)
    wait_until(lambda: len(tool.printed) == 3, START, "three events")
    assert tool.printed == world.logged()[-3:]


def test_the_client_in_python_ends_when_its_token_does(
    world: World, tool: Tool, joined: Callable[[], bool], database: Database
) -> None:
    assert world
    running = tool.follow_in_python()
    wait_until(joined, START, "a client on the instance")
    database.execute("UPDATE api_token SET revoked_at = now()")
    assert running.wait(START) == 1
    assert "the server refuses (4001)" in tool.said


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
