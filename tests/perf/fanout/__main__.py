"""The benchmark of the fan-out: our instance and its peers, in alternating runs.

python -m tests.perf.fanout [--runs N [--many-runs M]] [--servers NAME,NAME] [--clients 1000] [--transport tcp]
                             [--out FILE]
python -m tests.perf.fanout --smoke              50 clients, one run, ours and the C loop: does it work at all?
python -m tests.perf.fanout --connections 15000  ours alone: memory, and one event that reaches all

Needs the test services (scripts/test_services.sh) and two processors; tests/perf/run.sh sees to everything.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.perf import build, machine
from tests.perf.fanout import loads
from tests.perf.fanout.client import Client, LossError
from tests.perf.fanout.line_process import ProcessError
from tests.perf.fanout.servers import FLOOR, OURS, Instance, Server, ServerError, Transport, note, peers

NAMES = (OURS, FLOOR, "gws", "centrifuge", "node ws", "naive loop")
RUNS = 7
SMOKE = (loads.Load(50, count=20, interval=0.02), loads.Load(50, count=20, interval=0, rounds=2))
ALL_EVENT_SECONDS = 30


def main() -> int:
    """Run what was asked for; 1 when ours lost a message or one failed. A round in which a peer did is left out."""
    arguments = _arguments()
    if (os.cpu_count() or 1) < 2:
        note("two processors are needed: one for the server, one for the clients")
        return 1
    try:
        with _servers(arguments.servers, arguments.transport) as servers:
            if arguments.connections:
                result: object = _many(servers[0], arguments.connections)
            else:
                chosen = [load for load in loads.FULL if load.clients in arguments.clients]
                wanted = SMOKE if arguments.smoke else chosen
                counts = (arguments.runs, min(arguments.runs, arguments.many_runs or arguments.runs))
                result = _alternate(servers, wanted, counts, idle=not arguments.smoke)
    except (LossError, ProcessError, ServerError, build.BuildError) as error:
        note(f"FAILED: {error}")
        return 1
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(
            json.dumps({"machine": machine.describe(), "transport": arguments.transport, "result": result}, indent=1)
            + "\n"
        )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.perf.fanout", description="The benchmark of the fan-out.")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--many-runs", type=int, help="runs with 10,000 clients, which take long; all without it")
    parser.add_argument("--servers", type=lambda text: tuple(text.split(",")), default=NAMES)
    parser.add_argument("--transport", choices=("unix", "tcp"), default="unix")
    parser.add_argument("--clients", type=int, nargs="*", default=[1_000, 10_000], help="only the loads of so many")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--connections", type=int)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.servers) - set(NAMES):
        parser.error(f"unknown servers: {', '.join(unknown)}; known: {', '.join(NAMES)}")
    if arguments.smoke:
        arguments.runs, arguments.servers = 1, (OURS, FLOOR)
    if arguments.connections:
        arguments.servers = (OURS,)
    return arguments


@contextlib.contextmanager
def _servers(names: Sequence[str], transport: Transport) -> Iterator[list[Server]]:
    made: list[Server] = [*peers(set(names), transport)]
    with contextlib.ExitStack() as stack:
        if OURS in names:
            instance = Instance(transport)
            stack.callback(instance.close)
            made.append(instance)
        yield sorted(made, key=lambda server: names.index(server.name))


def _alternate(
    servers: Sequence[Server], wanted: Sequence[loads.Load], counts: tuple[int, int], *, idle: bool
) -> dict[str, list[dict[str, object]]]:
    """Run every server as often as the first of `counts` says; each round begins with another one.

    So drift of the machine hits all. Only the first rounds, as many as the second of `counts` says, have the loads of
    very many clients.
    """
    runs, many_runs = counts
    found: dict[str, list[dict[str, object]]] = {server.name: [] for server in servers}
    for number in range(runs):
        start = number % len(servers)
        for server in [*servers[start:], *servers[:start]]:
            began = time.monotonic()
            note(f"run {number + 1}/{runs}  {server.name}")
            now = [load for load in wanted if number < many_runs or load.clients < loads.IDLE_TO]
            try:
                done = loads.run(server, now, idle=idle)
            except LossError as error:
                if server.name == OURS:
                    raise
                note(f"    no figures of this round: {error}")
                continue
            measured = {name: figures.as_dict() for name, figures in done.loads.items()}
            found[server.name].append({"loads": measured, "idle_kib": done.idle_kib})
            figures = "  ".join(f"{item.cpu_us:5.2f}" for item in done.loads.values())
            memory = "" if done.idle_kib is None else f"  {done.idle_kib:5.1f} KiB idle"
            seconds = time.monotonic() - began
            note(f"    CPU µs/delivery: {figures}{memory}  ({seconds:.0f} s)")
            busiest = max(item.foreign for item in done.loads.values())
            if busiest > 0.1:
                note(f"    others took {busiest:.0%} of the server's processor: these figures are not to be trusted")
    return found


def _many(server: Server, connections: int) -> dict[str, float]:
    """Hold `connections` clients on one instance and have one event reach all of them."""
    server.start(connections)
    try:
        before = machine.resident_kib(server.pid)
        client = Client(server.address, server.tokens, server.first_text)
        try:
            seconds = client.connect(connections)
            after = machine.resident_kib(server.pid)
            client.expect(0, 1, ALL_EVENT_SECONDS)
            server.publish(0, 1, 0)
            client.wait(ALL_EVENT_SECONDS + 10)
            arrivals = client.report(1)
        finally:
            client.close()
    finally:
        server.stop()
    result = {
        "connections": connections,
        "connect_seconds": seconds,
        "resident_mib": after / 1024,
        "per_connection_kib": (after - before) / connections,
        "last_ms": arrivals.last,
        "p50_ms": arrivals.p50,
    }
    note(
        f"{connections:,} clients connected in {seconds:.1f} s; the instance holds {after / 1024:.0f} MiB "
        f"({result['per_connection_kib']:.1f} KiB each); one event reached all, the last after {arrivals.last:.0f} ms"
    )
    return result


sys.exit(main())
