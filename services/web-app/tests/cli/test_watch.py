"""`vulsctl watch` in a process of its own, over TLS, against real instances that come and go."""

import contextlib
import hashlib
import json
import os
import pty
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from app.domain.permissions import Role
from app.utils.notification_service.publisher import Publisher
from tests.edge.process import InstanceProcess
from tests.page.edge import Relay, self_signed
from tests.page.world import ASSESSED, CLEAN, FAILED, NOT_ASSESSED, World
from tests.services import Database
from tests.waiting import wait_until

START = 60.0  # seconds in which a process of Python is up, also on a slow day


# What a script runs in the background ignores SIGINT, and so would every process that the tests start from there.
PROGRAM = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from app.cli import main; main()"


def launch(environment: dict[str, str], arguments: tuple[str, ...] = (), **streams: Any) -> subprocess.Popen[bytes]:
    """Start `vulsctl watch` with this environment and nothing else of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VULS_")}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "watch", *arguments],
        env=kept | environment,
        cwd=Path(__file__).parents[2],
        **streams,
    )


class Watch:
    """A running `vulsctl watch` whose output is kept."""

    def __init__(self, folder: Path, environment: dict[str, str], arguments: tuple[str, ...]) -> None:
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self.process = launch(environment, arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    @property
    def lines(self) -> list[str]:
        """What it has printed on standard output."""
        return self._out.read_text().splitlines()

    @property
    def ids(self) -> list[str]:
        """The ids of the messages that it has printed in JSON."""
        return [json.loads(line)["id"] for line in self.lines]

    @property
    def notices(self) -> str:
        """What it has said on standard error."""
        return self._err.read_text()

    def prints(self, number: int) -> list[str]:
        """Wait until it has printed so many lines."""
        try:
            wait_until(lambda: len(self.lines) >= number, START)
        except AssertionError:
            pytest.fail(f"{len(self.lines)} lines, not {number}; it said {self.notices!r}", pytrace=False)
        return self.lines

    def says(self, sentence: str) -> None:
        """Wait until it has said something on standard error."""
        wait_until(lambda: sentence in self.notices, START, f"{sentence!r} in {self.notices!r}")

    def ends(self) -> int:
        """Wait for its end and return the exit status."""
        return self.process.wait(START)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the certificate that the relay shows."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def relay(authority: Path) -> Iterator[Relay]:
    relay = Relay(self_signed(authority))
    yield relay
    relay.stop()


@pytest.fixture(scope="module")
def start_instance(session_database: Database) -> Iterator[Callable[[], InstanceProcess]]:
    started = []

    def start() -> InstanceProcess:
        instance = InstanceProcess(session_database)
        started.append(instance)
        instance.wait_ready()
        return instance

    yield start
    for instance in started:
        instance.remove()


@pytest.fixture(scope="module")
def instance(start_instance: Callable[[], InstanceProcess]) -> InstanceProcess:
    return start_instance()


@pytest.fixture
def world(
    database: Database,
    redis_client: Redis,
    sessions_as: Callable[..., sessionmaker[Session]],
    instance: InstanceProcess,
    relay: Relay,
) -> World:
    """An empty system with one administrator, and a whole network."""
    assert redis_client
    relay.target = instance.http_socket
    relay.mend()
    world = World(sessions_as("web"), sessions_as("worker"), Publisher(database.settings("web")), "none")
    world.begin()
    world.add_user("tool", Role.ADMIN)
    return world


@pytest.fixture
def token(world: World) -> str:
    return world.make_token("tool")


@pytest.fixture
def environment(token: str, relay: Relay, authority: Path) -> dict[str, str]:
    """What `vulsctl watch` needs to know."""
    return {"VULS_URL": relay.origin, "VULS_TOKEN": token, "VULS_CA_FILE": str(authority / "tls.crt")}


@pytest.fixture
def watch(environment: dict[str, str], relay: Relay, tmp_path: Path) -> Iterator[Callable[..., Watch]]:
    """Start `vulsctl watch` with more arguments, and wait until it follows unless `follows` is False."""
    started: list[Watch] = []

    def start(*arguments: str, follows: bool = True, **more: str) -> Watch:
        before = relay.handshakes
        folder = tmp_path / f"watch-{len(started)}"
        folder.mkdir()
        running = Watch(folder, environment | more, arguments)
        started.append(running)
        if follows:
            wait_until(lambda: relay.handshakes > before or running.process.poll() is not None, START)
        return running

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait(10)


def test_a_person_reads_what_was_found_and_where(world: World, watch: Callable[..., Watch]) -> None:
    task = world.add_task("web-1")
    running = watch("--count", "12")
    for result in (ASSESSED, CLEAN, NOT_ASSESSED, FAILED):
        world.scan(task, result)
    assert running.ends() == 0
    ended = [line[21:] for line in running.lines if "queued" not in line and "started" not in line]
    assert ended == [
        "success    Scan web-1 (web-1): 9 vulnerabilities (2 critical, 2 high, 3 medium, 1 low, 1 unknown)",
        "success    Scan web-1 (web-1): no known vulnerabilities",
        "success    Scan web-1 (web-1): not assessed. The vulnerability database is missing on the scan host.",
        "failed     Scan web-1 (web-1): vuls-target-1 did not answer on port 22.",
    ]
    assert "to go on from here: --since " in running.notices


@pytest.mark.parametrize("how", ["stop", "drain", "network"])
def test_an_instance_that_leaves_in_the_middle_loses_and_repeats_nothing(
    world: World,
    watch: Callable[..., Watch],
    relay: Relay,
    instance: InstanceProcess,
    start_instance: Callable[[], InstanceProcess],
    how: str,
) -> None:
    task = world.add_task("web-1")
    leaving = instance if how == "network" else start_instance()
    relay.target = leaving.http_socket
    running = watch("--json")
    world.scan(task, ASSESSED)
    running.prints(3)
    if how == "network":
        relay.down = True
        relay.cut()
    else:
        relay.target = instance.http_socket
        if how == "drain":
            with leaving.admin() as admin:
                admin.post("/drain", params={"seconds": 1}).raise_for_status()
        leaving.stop()
    world.scan(task, FAILED)
    relay.mend()
    world.scan(task, CLEAN)
    running.prints(9)
    assert running.ids == world.logged()
    assert "coming back in" in running.notices


def test_the_next_start_goes_on_where_the_last_one_ended(
    world: World, watch: Callable[..., Watch], tmp_path: Path
) -> None:
    task = world.add_task("web-1")
    file = tmp_path / "cursor"
    first = watch("--json", "--cursor-file", str(file))
    world.scan(task, CLEAN)
    first.prints(3)
    first.process.send_signal(signal.SIGINT)
    assert first.ends() == 130
    world.scan(task, ASSESSED)
    second = watch("--json", "--cursor-file", str(file), "--count", "3")
    assert second.ends() == 0
    assert first.ids + second.ids == world.logged()
    assert file.read_text().strip() == second.ids[-1]
    assert watch("--json", "--since", first.ids[-1], "--count", "3").ends() == 0


def test_a_cursor_that_the_log_no_longer_reaches_is_told_and_watching_goes_on(
    world: World, watch: Callable[..., Watch], database: Database
) -> None:
    task = world.add_task("web-1")
    world.scan(task, CLEAN)
    old = world.logged()[0]
    database.execute("DELETE FROM event WHERE seq < (SELECT max(seq) FROM event)")
    running = watch("--json", "--since", old)
    running.says(f"what happened after {old} cannot be told event by event (too_old)")
    running.says("going on from ")
    run = world.scan(task, ASSESSED)
    told, *events = [json.loads(line) for line in running.prints(4)]
    assert (told["type"], told["data"]) == ("resync_required", {"reason": "too_old"})
    assert {event["data"]["task_run_id"] for event in events} == {run.id}
    counted = watch("--json", "--since", old, "--count", "1")
    assert counted.ends() == 0
    assert [json.loads(line)["type"] for line in counted.lines] == ["resync_required"]
    running.process.kill()


def test_a_revoked_token_ends_it_with_what_to_do(world: World, watch: Callable[..., Watch], database: Database) -> None:
    running = watch()
    world.scan(world.add_task("web-1"), CLEAN)
    running.prints(3)
    database.execute("UPDATE api_token SET revoked_at = now()")
    assert running.ends() == 1
    assert "the token was revoked or has ended" in running.notices
    assert "vulsctl token create" in running.notices


@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        ((), {"VULS_TOKEN": "vl_wrong"}, "the token is not accepted (401)"),
        ((), {"VULS_TOKEN": ""}, "there is no token"),
        ((), {"VULS_TOKEN": "vl_\N{BLACK HEART SUIT}"}, "characters that no token has"),
        (("--token-file", "/nonexistent"), {}, "cannot read the token from /nonexistent"),
        ((), {"VULS_CA_FILE": ""}, "the certificate of localhost is not trusted"),
        ((), {"VULS_CA_FILE": "/nonexistent"}, "cannot read certificates from /nonexistent"),
        (("--url", "https://no-such-host.invalid"), {}, "the name no-such-host.invalid is not known"),
        (("--url", "https://localhost:1"), {}, "does not answer as Vuls Live does"),
        (("--url", "http://localhost"), {}, "the token needs TLS"),
        (("--url", "https://localhost/page"), {}, "is no address of Vuls Live"),
        (("--since", "yesterday"), {}, "--since holds no cursor: 'yesterday'"),
        (("--cursor-file", "/"), {}, "cannot read the cursor from /"),
        (("--cursor-file", "/proc/cursor"), {}, "cannot write the cursor"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_work_is_said_at_once(
    watch: Callable[..., Watch], arguments: tuple[str, ...], more: dict[str, str], said: str
) -> None:
    running = watch(*arguments, follows=False, **more)
    assert running.ends() == 1
    assert said in running.notices
    assert "Next: " in running.notices
    assert "Traceback" not in running.notices
    assert running.lines == []


def test_a_server_of_another_name_than_its_certificate_is_refused(watch: Callable[..., Watch], relay: Relay) -> None:
    running = watch("--url", relay.origin.replace("localhost", "127.0.0.1"), follows=False)
    assert running.ends() == 1
    assert "the certificate of 127.0.0.1 is not trusted" in running.notices
    assert "mismatch" in running.notices


@pytest.mark.parametrize("over_tls", [True, False])
def test_a_server_that_says_nothing_is_given_up(
    environment: dict[str, str], authority: Path, watch: Callable[..., Watch], *, over_tls: bool
) -> None:
    assert environment
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "tls.crt", authority / "tls.key")
    with socket.create_server(("localhost", 0)) as listener:
        url = f"https://localhost:{listener.getsockname()[1]}"
        running = watch("--since", "k3f9-1", "--url", url, follows=False)
        silent, _ = listener.accept()
        with context.wrap_socket(silent, server_side=True) if over_tls else silent:
            assert running.ends() == 1
    assert f"{url} does not answer as Vuls Live does" in running.notices


def test_with_a_kept_cursor_a_server_that_is_away_at_the_start_is_waited_for(
    world: World, watch: Callable[..., Watch], relay: Relay, tmp_path: Path
) -> None:
    task = world.add_task("web-1")
    world.scan(task, CLEAN)
    before, *missed = world.logged()
    file = tmp_path / "cursor"
    file.write_text(before)
    relay.down = True
    running = watch("--json", "--cursor-file", str(file), "--count", "2", follows=False)
    running.says("localhost does not answer")
    relay.mend()
    assert running.ends() == 0
    assert running.ids == missed


class ClosingServer:
    """A server of one connection after the other, which it greets and closes with a code."""

    def __init__(self, authority: Path, code: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority / "tls.crt", authority / "tls.key")
        self._listener = socket.create_server(("localhost", 0))
        self._listener.settimeout(START)
        self._code = code
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        self.asked: list[str] = []

    def serve_one(self) -> None:
        """Take a connection, and close it with the code; `asked` has its request line."""
        raw, _ = self._listener.accept()
        raw.settimeout(START)
        with self._context.wrap_socket(raw, server_side=True) as peer:
            head = b""
            while b"\r\n\r\n" not in head:
                head += peer.recv(4096)
            line, *lines = head.decode().splitlines()
            self.asked.append(line)
            key = next(text.split(": ", 1)[1] for text in lines if text.lower().startswith("sec-websocket-key"))
            accept = b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
            hello = b'{"type":"hello","id":"k3f9-9","data":{}}'
            answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            answer += b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            frames = struct.pack("!BB", 0x81, len(hello)) + hello + struct.pack("!BBH", 0x88, 2, self._code)
            peer.sendall(answer + frames)
            peer.recv(4096)  # its close

    def stop(self) -> None:
        self._listener.close()


@pytest.fixture
def closing_server(environment: dict[str, str], authority: Path) -> Iterator[Callable[[int], ClosingServer]]:
    assert environment  # the certificate exists once there is a relay
    with contextlib.ExitStack() as stack:

        def start(code: int) -> ClosingServer:
            server = ClosingServer(authority, code)
            stack.callback(server.stop)
            return server

        yield start


@pytest.mark.parametrize(
    ("code", "said", "at_least"),
    [(4008, "this program read too slowly and was cut off", 0), (4029, "too many connections of this user", 30)],
)
def test_after_a_close_that_passes_it_says_why_and_comes_back_with_its_cursor(
    watch: Callable[..., Watch],
    closing_server: Callable[[int], ClosingServer],
    code: int,
    said: str,
    at_least: int,
) -> None:
    server = closing_server(code)
    running = watch("--since", "k3f9-7", "--url", server.url, follows=False)
    server.serve_one()
    running.says(said)
    wait = re.search(rf"{said}; coming back in ([0-9.]+) s", running.notices)
    assert wait is not None
    assert at_least <= float(wait[1]) <= at_least + 1
    if not at_least:
        server.serve_one()
        assert server.asked == ["GET /api/ws?since=k3f9-7 HTTP/1.1"] * 2
    assert running.process.poll() is None


def test_a_server_that_does_not_understand_it_is_left_for_good(
    watch: Callable[..., Watch], closing_server: Callable[[int], ClosingServer]
) -> None:
    server = closing_server(4009)
    running = watch("--since", "k3f9-7", "--url", server.url, follows=False)
    server.serve_one()
    assert running.ends() == 1
    assert "the server does not understand this program" in running.notices
    assert "Next: install the `vulsctl` of the release that it runs" in running.notices


def test_a_token_is_read_from_a_file(watch: Callable[..., Watch], world: World, token: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    running = watch("--token-file", str(file), "--count", "1", VULS_TOKEN="")
    world.queue(world.add_task("web-1"))
    assert running.ends() == 0


def test_whoever_reads_the_output_may_leave(world: World, relay: Relay, environment: dict[str, str]) -> None:
    before = relay.handshakes
    reading, writing = os.pipe()
    process = launch(environment, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    os.close(reading)
    try:
        wait_until(lambda: relay.handshakes > before, START)
        world.queue(world.add_task("web-1"))
        assert process.wait(START) == 0
    finally:
        process.kill()
        _, said = process.communicate()
    assert said == b""


def test_at_a_terminal_progress_stays_in_one_line(world: World, relay: Relay, environment: dict[str, str]) -> None:
    run = world.start(world.queue(world.add_task("web-1")))
    before = relay.handshakes
    master, slave = pty.openpty()
    process = launch(environment | {"COLUMNS": "60"}, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.set_blocking(master, False)
    shown = ""

    def shows(text: str) -> bool:
        nonlocal shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(master, 65536).decode()
        return text in shown

    try:
        wait_until(lambda: relay.handshakes > before, START)
        for phase, percent in (("connecting", None), ("matching", 40)):
            world.progress(run, phase, percent)
            wait_until(partial(shows, f"Scan web-1: {phase}"), START, f"{phase} at the terminal")
        world.end(run, "success", CLEAN)
        wait_until(lambda: shows("no known vulnerabilities") and "\n" in shown, START, "the end at the terminal")
    finally:
        process.kill()
        process.wait(10)
        os.close(master)
    assert "\r\x1b[2K  … Scan web-1: matching 40 %\r\x1b[2K" in shown
    assert shown.count("\n") == 1
