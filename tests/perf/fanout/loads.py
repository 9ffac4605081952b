"""What is asked of every server, and what one run of it found."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.perf import machine
from tests.perf.fanout.client import Client
from tests.perf.fanout.servers import Server

IDLE_FROM, IDLE_TO = 1000, 5000  # connections between which the memory of an idle one is measured
PATIENCE = 180  # seconds until a message that has not arrived is lost; a busy machine is no loss
WARM_UP = 5  # messages, or bursts of one, before anything is measured


@dataclass(frozen=True, slots=True)
class Load:
    """Messages to a number of clients: `rounds` times `count` messages, `interval` seconds apart (0: all at once)."""

    clients: int
    count: int
    interval: float
    rounds: int = 1

    @property
    def name(self) -> str:
        """How tables call it."""
        how = f"{1 / self.interval:g} messages/s" if self.interval else f"bursts of {self.count}"
        return f"{self.clients:,} clients, {how}"

    @property
    def messages(self) -> int:
        """All messages together."""
        return self.count * self.rounds


FULL = (
    Load(10_000, count=15, interval=0.2),
    Load(10_000, count=20, interval=0),
    Load(1_000, count=150, interval=0.02),
    Load(1_000, count=100, interval=0, rounds=3),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One load on one server, once."""

    cpu_us: float  # of the server, for a delivery
    per_second: float  # deliveries
    p50_ms: float
    p99_ms: float
    last_ms: float
    client_us: float  # of the client, for a delivery
    client_cpu_busy: float  # part of the time that the client's processor worked
    foreign: float  # part of the time that others used the server's processor
    joined: float  # messages that came in one read
    bytes: int  # of a message on the wire, at most

    def as_dict(self) -> dict[str, float]:
        """Return it for the file of results."""
        return asdict(self)


class Numbers:
    """Numbers the messages of a connected client: they go on from load to load."""

    def __init__(self) -> None:
        self.next = 0

    def take(self, count: int) -> int:
        """Return the first of `count` numbers."""
        first = self.next
        self.next += count
        return first


def measure(server: Server, client: Client, load: Load, numbers: Numbers) -> Measured:
    """Put `load` on `server`, after a warm-up, and return what it took.

    Raises:
        LossError: a client did not get every message.
    """
    for _ in range(WARM_UP):
        _send(server, client, numbers, 1, 0)
    client.report(WARM_UP)
    before = machine.read(server.pid, client.pid)
    for _ in range(load.rounds):
        _send(server, client, numbers, load.count, load.interval)
    after = machine.read(server.pid, client.pid)
    arrivals = client.report(load.messages)
    seconds, cpu = max(after.at - before.at, 0.01), after.server - before.server
    return Measured(
        cpu_us=cpu / arrivals.deliveries * 1e6,
        per_second=arrivals.deliveries / arrivals.span,
        p50_ms=arrivals.p50,
        p99_ms=arrivals.p99,
        last_ms=arrivals.last,
        client_us=(after.client - before.client) / arrivals.deliveries * 1e6,
        client_cpu_busy=(after.client_cpu_busy - before.client_cpu_busy) / seconds,
        foreign=max(0.0, after.server_cpu_busy - before.server_cpu_busy - cpu) / seconds,
        joined=arrivals.deliveries / arrivals.reads,
        bytes=arrivals.most_bytes,
    )


def _send(server: Server, client: Client, numbers: Numbers, count: int, interval: float) -> None:
    first = numbers.take(count)
    seconds = PATIENCE + int(count * interval)
    client.expect(first, count, seconds)
    server.publish(first, count, interval)
    client.wait(seconds + 10)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one server."""

    loads: dict[str, Measured]
    idle_kib: float | None  # memory of an idle connection


def run(server: Server, loads: Sequence[Load], *, idle: bool) -> Run:
    """Start `server` once for each number of clients, and put the loads of that number on it."""
    found: dict[str, Measured] = {}
    idle_kib = None
    for clients in dict.fromkeys(load.clients for load in loads):
        server.start(clients)
        try:
            client = Client(server.address, server.tokens, server.first_text)
            try:
                if idle and clients >= IDLE_TO:
                    idle_kib = _idle(server, client)
                client.connect(clients)
                numbers = Numbers()
                for load in loads:
                    if load.clients == clients:
                        found[load.name] = measure(server, client, load, numbers)
            finally:
                client.close()
        finally:
            server.stop()
    return Run(found, idle_kib)


def _idle(server: Server, client: Client) -> float:
    client.connect(IDLE_FROM)
    time.sleep(0.3)
    before = machine.resident_kib(server.pid)
    client.connect(IDLE_TO)
    time.sleep(0.3)
    return (machine.resident_kib(server.pid) - before) / (IDLE_TO - IDLE_FROM)
