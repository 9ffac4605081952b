"""What comes over the wire may be anything: an instance closes with the right code, logs no fault, does not grow."""

import json
import secrets
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event, Lock
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.envelope import StoredEvent
from tests.chaos.autobahn import CASES
from tests.chaos.garbage import Garbage
from tests.chaos.measure import complaints, open_files, resident
from tests.chaos.verdict import Verdict, judge
from tests.chaos.wire import Op, Peer, frame, request
from tests.edge.browser import Browser
from tests.edge.conftest import World
from tests.edge.process import InstanceProcess, eventually

pytestmark = pytest.mark.chaos
SignIn = Callable[..., Browser]
Happen = Callable[..., StoredEvent]
SYNC = b"is all of it read?"
FIXED_SEED = 20250627
EARLY = 12 * 1024  # bytes that may come before the handshake is answered; a server may hang up at more
ANSWER = 10  # seconds
TRIES = 30  # to be let in by an instance on a busy machine
HANDSHAKE_TIMEOUT = 2  # seconds
GROWTH = 24  # MiB that an instance may grow by under all of this, after it was warm


@pytest.fixture(scope="module", params=[True, False], ids=["bare", "asgi"])
def adopt(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def shared_instance(start_instance: Callable[..., InstanceProcess], *, adopt: bool) -> InstanceProcess:
    return start_instance(adopt_sockets=adopt, handshake_timeout=HANDSHAKE_TIMEOUT, connections_per_user=5000)


@dataclass
class Outcome:
    """What came back: answers, and the payload of the close frame (None: no close frame came)."""

    pongs: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    close: bytes | None = None
    over: bool = False  # the connection ended
    greeted: bool = False  # hello came
    synced: bool = False  # the answer to the last ping came

    @property
    def code(self) -> int | None:
        return struct.unpack("!H", self.close[:2])[0] if self.close else None


@dataclass
class Target:
    """An instance, and the handshake of a user who is let in."""

    instance: InstanceProcess
    headers: dict[str, str]
    in_order: bool  # whether messages are judged before the frames behind them

    @property
    def hello(self) -> bytes:
        return request(self.headers)

    def converse(self, data: bytes, enough: Callable[[Outcome], bool], *, together: bool = True) -> Outcome:
        """Send `data` after a handshake (in one piece with it, or after the answer); read until `enough` or the end."""
        for _ in range(TRIES):
            outcome = self._try(data, enough, together=together and len(data) < EARLY)
            if outcome is not None:
                return outcome
            time.sleep(1)
        raise AssertionError(f"turned away {TRIES} times")

    def _try(self, data: bytes, enough: Callable[[Outcome], bool], *, together: bool) -> Outcome | None:
        """Do so once; None when the machine is so busy that the instance lets nobody in."""
        outcome = Outcome()
        deadline = time.monotonic() + ANSWER
        with Peer(self.instance.http_socket) as peer:
            peer.send(self.hello + data if together else self.hello)
            head = peer.read_head()
            if head.startswith(b"HTTP/1.1 503"):
                return None
            assert head.startswith(b"HTTP/1.1 101"), head
            if not together:
                peer.send(data)
            while not enough(outcome):
                # Heartbeats come every second: this is looked at.
                assert time.monotonic() < deadline, f"{outcome} within {ANSWER} s after {data.hex()}"
                received = peer.next_frame()
                if received is None:
                    outcome.over = True
                    break
                _note(outcome, *received)
                if outcome.close is not None:
                    peer.send(frame(Op.CLOSE, outcome.close[:2]))
        return outcome

    def check(self, garbage: bytes, *, together: bool = True) -> Verdict:
        """Let the instance judge `garbage`, and compare."""
        data, verdict = garbage, judge(garbage, in_order=self.in_order)
        for _ in range(8):  # the first ones may end as payload of what was cut short
            if not verdict.ends and SYNC not in verdict.pongs:
                data += frame(Op.PING, SYNC)
                verdict = judge(data, in_order=self.in_order)

        def enough(seen: Outcome) -> bool:
            if not verdict.whole:  # the server waits for more; it may also have seen enough to close
                return seen.greeted
            return not verdict.ends and seen.synced and len(seen.texts) >= len(verdict.texts)

        outcome = self.converse(data, enough, together=together)
        if verdict.whole and verdict.ends:
            assert outcome.close is not None, f"no close frame after {data.hex()}"
            assert outcome.code in verdict.ends, f"{outcome.code}, not {verdict.ends}, after {data.hex()}"
        elif verdict.whole:
            assert outcome.close is None, f"closed with {outcome.code} after {data.hex()}"
            assert (outcome.pongs, outcome.texts) == (verdict.pongs, verdict.texts), data.hex()
        else:
            assert outcome.greeted or outcome.code in verdict.ends, f"no word after {data.hex()}"
        return verdict


def _note(outcome: Outcome, opcode: int, payload: bytes) -> None:
    # A server may still answer pings until it has the client's own close (RFC 6455, 5.5.2); nothing else follows.
    if outcome.close is not None and opcode == Op.PONG:
        return
    assert outcome.close is None, f"a frame came after the close: {opcode} {payload!r}"
    match opcode:
        case Op.CLOSE:
            outcome.close = payload
        case Op.PONG:
            outcome.pongs.append(payload)
            outcome.synced = outcome.synced or payload == SYNC
        case Op.TEXT if payload == b"pong":
            outcome.texts.append("pong")
        case Op.TEXT:
            kind = json.loads(payload)["type"]
            assert kind in ("hello", "heartbeat", "error"), payload
            outcome.greeted = outcome.greeted or kind == "hello"
            outcome.texts += ["error"] if kind == "error" else []
        case _:
            assert opcode == Op.PING, opcode


@pytest.fixture
def target(instance: InstanceProcess, sign_in: SignIn, *, adopt: bool) -> Target:
    return Target(instance, sign_in("viewer-2").headers, in_order=adopt)


@pytest.fixture(autouse=True)
def no_complaints(instance: InstanceProcess) -> Iterator[None]:
    """Whatever a test sends: no traceback, no error, and the instance stays ready."""
    before = len(complaints(instance))
    yield
    assert complaints(instance)[before:] == []
    with instance.client() as client:
        assert client.get("/readyz").status_code == 200


@pytest.fixture
def neighbour(sign_in: SignIn, happen: Happen, world: World) -> Iterator[None]:
    """A client that behaves, beside those that do not: it gets its events, soon, all the while."""
    browser, over = sign_in("viewer-1"), Event()
    names = [f"event {number}" for number in range(100_000)]
    told: list[str] = []
    late: list[float] = []

    def tell() -> None:
        with browser.feed() as feed:
            feed.next()
            for name in names:
                began = time.monotonic()
                happen(name, world.hosts[0])
                told.append(feed.updates_until(name)[-1]["data"]["task_name"])
                late.append(time.monotonic() - began)
                if over.wait(0.2):
                    return

    with ThreadPoolExecutor(1) as pool:
        telling = pool.submit(tell)
        yield
        over.set()
        telling.result()
    assert told == names[: len(told)]
    assert told
    assert max(late) < 5


@pytest.mark.parametrize("together", [True, False], ids=["with the handshake", "after the handshake"])
def test_framing_is_as_the_standard_says(target: Target, *, together: bool) -> None:
    for name, case in CASES.items():
        if case.code is None:
            count = len(case.answers) + 1
            outcome = target.converse(
                case.sent + frame(Op.PING, SYNC),
                lambda seen, count=count: len(seen.pongs) + len(seen.texts) >= count,  # type: ignore[misc]
                together=together,
            )
            assert (outcome.pongs, outcome.texts, outcome.close) == ([*case.pongs, SYNC], case.texts, None), name
        else:
            outcome = target.converse(case.sent, lambda seen: seen.over, together=together)
            assert outcome.close is not None, f"{name}: no close frame"
            assert outcome.code == (case.code or None), name


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(2600, id="short"),
        pytest.param(50_000, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
@pytest.mark.usefixtures("neighbour")
def test_malformed_frames_end_with_the_right_code_and_cost_nothing(
    target: Target, frames: int, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = (FIXED_SEED, secrets.randbelow(2**31))
    with capsys.disabled():
        print(f"\nfuzzing with the seeds {seeds}")  # noqa: T201
        _throw(target, Garbage(FIXED_SEED), 300, "to warm up")
        before = resident(target.instance)
        for seed in seeds:
            _throw(target, Garbage(seed), frames // 2, f"of seed {seed}")
        grown = resident(target.instance) - before
        print(f"memory grew by {grown:.1f} MiB (at most {GROWTH})")  # noqa: T201
    assert grown < GROWTH
    with target.instance.admin() as admin:
        eventually(lambda: admin.get("/status").json()["clients"] == 1)  # the neighbour


def _throw(target: Target, garbage: Garbage, wanted: int, of: str) -> None:
    """Send streams until `wanted` frames were malformed or unknown."""
    began, thrown, lock = time.monotonic(), 0, Lock()

    def throw() -> None:
        nonlocal thrown
        while thrown < wanted:
            with lock:
                data, together = garbage.stream(), bool(thrown % 4)
            verdict = target.check(data, together=together)
            with lock:
                thrown += verdict.bad
                if thrown // 5000 > (thrown - verdict.bad) // 5000:
                    print(f"  {thrown} bad frames {of}, {time.monotonic() - began:.0f} s")  # noqa: T201

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(throw) for _ in range(4)]:
            done.result()
    print(f"{thrown} bad frames {of} in {time.monotonic() - began:.1f} s")  # noqa: T201


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], database=None
)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                frame,
                st.integers(0, 15),
                st.binary(max_size=300),
                fin=st.booleans(),
                reserved=st.sampled_from((0, 0, 0, 1, 2, 4)),
                mask=st.one_of(st.binary(min_size=4, max_size=4), st.none()),
                length_bits=st.sampled_from((0, 0, 64)),
                length=st.one_of(st.none(), st.none(), st.integers(0, 2**64 - 1)),
            ),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_bytes_are_judged_as_the_standard_says(target: Target, parts: list[bytes]) -> None:
    target.check(b"".join(parts))


WRONG_HANDSHAKES: dict[str, tuple[dict[str, str | None], set[int]]] = {
    "no key": ({"Sec-WebSocket-Key": None}, {400}),
    "empty key": ({"Sec-WebSocket-Key": ""}, {400}),
    "short key": ({"Sec-WebSocket-Key": "c2hvcnQ="}, {400}),
    "key that is no base64": ({"Sec-WebSocket-Key": "!!!!"}, {400}),
    "no version": ({"Sec-WebSocket-Version": None}, {400, 426}),
    "old version": ({"Sec-WebSocket-Version": "8"}, {400, 426}),
    "version that is no number": ({"Sec-WebSocket-Version": "thirteen"}, {400, 426}),
    "no upgrade": ({"Upgrade": None}, {400, 404, 426}),
    "upgrade to something else": ({"Upgrade": "h2c"}, {400, 404, 426}),
    "connection without upgrade": ({"Connection": "keep-alive"}, {400, 404, 426}),
    "two hosts in one": ({"Host": "a, b"}, {101, 400}),
    "header beyond ASCII": ({"X-Odd": "\xe9\xff"}, {101, 400}),
    "control character": ({"X-Odd": "a\x01b"}, {101, 400}),
    "NUL": ({"X-Odd": "a\x00b"}, {400}),
    "header name with a space": ({"X Odd": "a"}, {400}),
    "cookie beyond ASCII": ({"Cookie": "__Host-vuls_session=\xe9"}, {400, 401}),
    "long cookie": ({"Cookie": "a=" + "b" * 50_000}, {400, 401, 431}),
    "long header": ({"X-Long": "x" * 200_000}, {101, 400, 431}),
    "odd extension": ({"Sec-WebSocket-Extensions": 'a;;b="; permessage-deflate; x'}, {101, 400}),
    "odd deflate": ({"Sec-WebSocket-Extensions": "permessage-deflate; server_max_window_bits=99"}, {101, 400}),
    "odd subprotocol": ({"Sec-WebSocket-Protocol": ",,;"}, {101, 400}),
    "bearer of nothing": ({"Authorization": "Bearer"}, {401}),
    "bearer beyond ASCII": ({"Authorization": "Bearer \xff\xfe"}, {401}),
    "basic": ({"Authorization": "Basic YTpi"}, {401}),
    "origin that is no address": ({"Origin": "null"}, {403}),
    "forwarded from nonsense": ({"X-Forwarded-For": "'; DROP TABLE event; --"}, {101}),
    "expectation": ({"Expect": "100-continue"}, {100, 101, 400, 417}),
    "body in pieces": ({"Transfer-Encoding": "chunked"}, {101, 400}),
    "wrong length": ({"Content-Length": "-1"}, {400}),
}


def test_a_wrong_handshake_is_refused_in_http(target: Target) -> None:
    for name, (replaced, expected) in WRONG_HANDSHAKES.items():
        with Peer(target.instance.http_socket) as peer:
            peer.send(request(target.headers, replaced=replaced))
            assert peer.status() in expected, f"{name}: {peer.last_status}"


def test_a_wrong_request_line_is_refused_in_http(target: Target) -> None:
    _, _, rest = target.hello.partition(b"\r\n")
    for line in (
        b"POST /api/ws HTTP/1.1",
        b"GET /api/ws HTTP/1.0",
        b"GET /api/ws HTTP/2.0",
        b"GET /api/ws",
        b"GET /\xff\xfe HTTP/1.1",
        b"GET /api/ws?since=\xff HTTP/1.1",
        b"GET /api/ws?since=%ff%00 HTTP/1.1",
        b"GET /api/ws%00 HTTP/1.1",
        b"GET http://[::1/api/ws HTTP/1.1",
        b"GET /api/../api/ws HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"PRI * HTTP/2.0",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1",
    ):
        with Peer(target.instance.http_socket) as peer:
            peer.send(line + b"\r\n" + rest)
            assert 400 <= peer.status() < 500, f"{line[:40]!r}: {peer.last_status}"


CURSORS = st.one_of(
    st.text(max_size=100),
    st.from_regex(r"[a-z0-9]{0,40}-[0-9]{0,25}", fullmatch=True),
    st.sampled_from(["", "-", "a-", "-1", "a--1", "a-01", "a-1 ", "A-1", "a-9223372036854775808", "a-٣", "a-1\0"]),
)


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], database=None
)
@given(CURSORS)
def test_any_cursor_is_answered_and_none_is_a_fault(target: Target, cursor: str) -> None:
    with target.instance.client(**target.headers) as client:
        assert client.get("/api/notifications", params={"since": cursor}).status_code in (400, 410, 422)
        for where in ({"params": {"since": cursor}}, {"headers": {"Last-Event-ID": cursor.encode()}}):
            if "headers" in where and (not cursor or not cursor.isprintable() or cursor != cursor.strip()):
                continue  # no header can say that; an empty one says nothing
            with client.stream("GET", "/api/events", **where) as answer:
                assert answer.status_code in (200, 400, 422)
                if answer.status_code == 200:
                    lines = answer.iter_lines()
                    assert '"resync_required"' in "".join(next(lines) for _ in range(3))
    with Peer(target.instance.http_socket) as peer:
        peer.send(request(target.headers, f"/api/ws?since={quote(cursor)}"))
        if peer.status() == 101:
            kinds = [json.loads((peer.next_frame() or (0, b"null"))[1])["type"] for _ in range(2)]
            assert kinds == ["hello", "resync_required"]
        else:
            assert peer.last_status == 400


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99], ids=["nothing", "a third", "nearly all"])
def test_half_a_handshake_is_given_up_after_its_time(target: Target, part: float) -> None:
    began = time.monotonic()
    with Peer(target.instance.http_socket) as peer:
        peer.send(target.hello[: int(len(target.hello) * part)])
        assert peer.status() in (0, 400, 408)
    assert HANDSHAKE_TIMEOUT - 0.5 < time.monotonic() - began < HANDSHAKE_TIMEOUT + 3


def test_a_handshake_byte_by_byte_is_given_up_after_its_time_too(target: Target) -> None:
    began = time.monotonic()
    with Peer(target.instance.http_socket) as peer:
        while time.monotonic() - began < HANDSHAKE_TIMEOUT + 3:
            peer.send(b"G" if peer.last_status else target.hello[:1])
            peer.socket.settimeout(0.2)
            try:
                if not peer.read_more():
                    return
            except TimeoutError:
                continue
    pytest.fail("the instance still waits for the end of a handshake")


def test_many_half_handshakes_leave_nothing_behind(target: Target) -> None:
    before = open_files(target.instance)
    with ExitStack() as stack:
        for number in range(200):
            peer = stack.enter_context(Peer(target.instance.http_socket))
            peer.send(target.hello[: number % len(target.hello)])
        # On a slow day the first ones may be given up before the last ones are accepted.
        eventually(lambda: open_files(target.instance) >= before + 100, 30)
        eventually(lambda: open_files(target.instance) <= before + 5, HANDSHAKE_TIMEOUT + 30)
