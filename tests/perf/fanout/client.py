"""The side that receives: one C program with all sockets, which says what arrived and when."""

from dataclasses import dataclass
from pathlib import Path

from tests.perf import build, machine
from tests.perf.fanout.line_process import LineProcess


class LossError(Exception):
    """A client did not get every message once and in order."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What arrived since the last look."""

    deliveries: int
    span: float  # seconds from the first publication to the last arrival, of each burst or steady load, added up
    p50: float  # milliseconds from publication to arrival
    p99: float
    last: float  # milliseconds until the last client had a message: the median message
    worst: float
    reads: int  # that brought messages: several come in one where the server or the kernel joined them
    least_bytes: int  # of a message on the wire
    most_bytes: int


class Client:
    """Clients of one server."""

    def __init__(self, address: str, tokens: Path, first_text: str | None) -> None:
        program = build.c_program(build.FANOUT / "client.c")
        more = [] if first_text is None else [first_text]
        self._process = LineProcess(machine.pinned(machine.CLIENT_CPU, program, address, tokens, *more))
        self._connected = 0

    @property
    def pid(self) -> int:
        """The process, to see what it costs."""
        return self._process.pid

    def connect(self, connections: int) -> float:
        """Have so many clients connected and return the seconds that it took.

        Raises:
            LossError: not all could connect.
        """
        answer = self._process.ask(f"connect {connections}", 400)
        if answer["connected"] != connections:
            raise LossError(f"{answer['connected']} of {connections} clients could connect")
        self._connected = connections
        return float(answer["seconds"])

    def expect(self, first: int, count: int, seconds: int) -> None:
        """Be ready for messages, which have to be there after `seconds` at the latest."""
        self._process.ask(f"expect {first} {count} {seconds}")

    def wait(self, seconds: float) -> None:
        """Wait until every client has every message.

        Raises:
            LossError: one lacks a message.
        """
        finished = self._process.read(seconds)["finished"]
        if finished != self._connected:
            raise LossError(f"{finished} of {self._connected} clients got every message")

    def report(self, messages: int) -> Arrivals:
        """Return the figures of the `messages` since the last report.

        Raises:
            LossError: a message came twice, in the wrong order, or not at all, or a client was disconnected.
        """
        answer = self._process.ask("report", 120)
        wrong, closed = answer.pop("wrong"), answer.pop("closed")
        arrivals = Arrivals(**answer)
        if wrong or closed or arrivals.deliveries != messages * self._connected:
            raise LossError(
                f"{arrivals.deliveries} of {messages * self._connected} deliveries, {wrong} out of order, "
                f"{closed} clients disconnected"
            )
        return arrivals

    def close(self) -> None:
        """Disconnect everyone."""
        self._process.close()
