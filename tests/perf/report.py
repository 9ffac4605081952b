"""Writes docs/performance.md and its picture from the results of a run.

python -m tests.perf.report RESULTS [PAGE]     RESULTS: the folder that tests/perf/run.sh filled
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.perf.figures import Figure, short
from tests.perf.fanout.servers import FLOOR, OURS
from tests.perf.plot import Bar, Panel, svg

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/performance.md"
BUSY = 0.95  # of the clients' processor: above it, the clients are the limit
Runs = Mapping[str, Sequence[Mapping[str, Any]]]

INTRODUCTION = """\
# Performance

Written by `tests/perf/run.sh`; every figure below is measured, none is edited. The median of {runs} alternating runs
stands first, then the spread.

{machine}

## Fan-out: one event to many sockets
Ours is the web application as it is deployed: gunicorn, one instance, PostgreSQL and Redis, every client signed in with
a token of one of 20 users of all roles, audiences, limits, metrics and pings on. An event is a row in a transaction and a wake-up over
Redis; the instance reads it from the log. Its latency counts from the beginning of that transaction. The
peers get the same messages at the same pace over a Unix socket, have neither sign-in nor log, and do no more than broadcast:

- **C loop**: one `send()` for each client and message, nothing else. What the kernel asks for.
- **gws** and **centrifuge**: Go, the libraries' own broadcast; centrifuge packs each message into its protocol.
- **node ws**: one buffer for all clients.
- **naive loop**: `await send_text(json.dumps(…))` for one client after the other, FastAPI under uvicorn.

Messages have 300 bytes, nothing is compressed, and all servers of a table listen on the same kind of socket. The server has one processor for itself; clients, the writer of events,
PostgreSQL and Redis share the other. CPU is that of the server's threads by the kernel's own account, the clients' is not in it. Every
client must have got every message once and in order, or there is no table. *Joined*: how many messages a client found in one read.
† marks figures for which the clients' processor was the limit: the rates and times are then the clients', the CPU is still the server's.
"""


def main() -> None:
    """Read the results and write the page."""
    folder = Path(sys.argv[1])
    page = Path(sys.argv[2]) if len(sys.argv) > 2 else PAGE  # noqa: PLR2004
    results = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    text, picture = render(results, page.with_suffix(".svg").name)
    page.write_text(text)
    page.with_suffix(".svg").write_text(picture)


def render(results: Mapping[str, Any], picture: str) -> tuple[str, str]:
    """Return the page and its picture. `results` has the content of each file of results by its name."""
    fanout = results["fanout-tcp"]
    runs: Runs = fanout["result"]
    count = len(next(iter(runs.values())))
    machine = "  \n".join(f"{name}: {value}" for name, value in fanout["machine"].items())
    parts = [INTRODUCTION.format(runs=count, machine=machine), f"![CPU for a delivery]({picture})\n"]
    parts += [load_table(runs, load, "TCP on loopback, TCP_NODELAY") for load in load_names(runs)]
    if "fanout-unix" in results:
        parts.append("The same on Unix sockets, where deployed instances listen and the kernel has less to do:\n")
        on_unix: Runs = results["fanout-unix"]["result"]
        parts += [load_table(on_unix, load, "Unix socket") for load in load_names(on_unix)]
    parts += [memory_table(runs), wish_table(results)]
    if "connections" in results:
        parts.append(connections_text(results["connections"]["result"]))
    if "event_log" in results:
        parts.append(event_log_text(results["event_log"]["result"]))
    return "\n".join(parts), plot(runs)


def load_names(runs: Runs) -> list[str]:
    """Return the loads that every server had."""
    return list(next(iter(runs.values()))[0]["loads"])


def figure(runs: Runs, server: str, load: str, key: str) -> Figure:
    """Return one figure of a server under a load, over all runs."""
    return Figure.of(run["loads"][load][key] for run in runs[server])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; numbers stand right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def load_table(runs: Runs, load: str, transport: str) -> str:
    """Return the table of one load, the cheapest server first."""
    floor = figure(runs, FLOOR, load, "cpu_us").median if FLOOR in runs else None
    head = ["server", "CPU µs/delivery", "× C loop", "deliveries/s", "p50 ms", "p99 ms", "last client ms", "joined"]
    rows = []
    for server in sorted(runs, key=lambda name: figure(runs, name, load, "cpu_us").median):
        cpu = figure(runs, server, load, "cpu_us")
        limited = "†" if figure(runs, server, load, "client_cpu_busy").median > BUSY else ""
        times = [f"{figure(runs, server, load, key)}{limited}" for key in ("per_second", "p50_ms", "p99_ms", "last_ms")]
        ratio = f"{cpu.median / floor:.2f}" if floor else ""
        rows.append([emphasis(server), str(cpu), ratio, *times, short(figure(runs, server, load, "joined").median)])
    return f"### {load} ({transport})\n{table(head, rows)}"


def emphasis(server: str) -> str:
    """Return a server's name, ours in bold."""
    return f"**{server}**" if server == OURS else server


def memory_table(runs: Runs) -> str:
    """Return what an idle connection holds in memory."""
    measured = {server: [run["idle_kib"] for run in each if run["idle_kib"] is not None] for server, each in runs.items()}
    figures = {server: Figure.of(values) for server, values in measured.items() if values}
    rows = [[emphasis(server), str(figures[server])] for server in sorted(figures, key=lambda name: figures[name].median)]
    if not rows:
        return ""
    return (
        "### Memory of an idle connection\nThe slope of the process's memory (PSS) from 1,000 to 5,000 connections; what the kernel holds for the"
        f" sockets is not in it.\n\n{table(['server', 'KiB'], rows)}"
    )


def wish_table(results: Mapping[str, Any]) -> str:
    """Return what was wished for, and whether it came true."""
    runs: Runs = results["fanout-tcp"]["result"]
    names = load_names(runs)

    def ratio(load: str) -> float:
        return figure(runs, OURS, load, "cpu_us").median / figure(runs, FLOOR, load, "cpu_us").median

    def idle() -> float:
        return Figure.of(run["idle_kib"] for run in runs[OURS]).median

    steady, burst, large = "1,000 clients, 50 messages/s", "1,000 clients, bursts of 100", "10,000 clients, 5 messages/s"
    wishes: list[tuple[str, float, str, Callable[[], float], bool]] = [
        (f"CPU, {steady}", 1.25, "× C loop", lambda: ratio(steady), steady in names),
        (f"CPU, {burst}", 0.15, "× C loop", lambda: ratio(burst), burst in names),
        (f"CPU, {large}", 1.3, "× C loop", lambda: ratio(large), large in names),
        (f"p99, {steady}", 20, "ms", lambda: figure(runs, OURS, steady, "p99_ms").median, steady in names),
        ("memory of an idle connection", 4, "KiB", idle, runs[OURS][0]["idle_kib"] is not None),
    ]
    rows = []
    for what, most, unit, found, known in wishes:
        if known:
            value = found()
            rows.append([what, f"≤ {most:g} {unit}", f"{short(value)} {unit}", "yes" if value <= most else "**no**"])
    return f"### Wishes (TCP)\n{table(['what', 'wish', 'measured', 'kept'], rows)}"


def connections_text(found: Mapping[str, float]) -> str:
    """Return what one instance with very many clients needed."""
    return (
        f"### {found['connections']:,.0f} clients on one instance\n"
        f"Signed in and connected in {found['connect_seconds']:.0f} s; the instance then holds {found['resident_mib']:.0f} MiB,"
        f" {short(found['per_connection_kib'])} KiB for a connection. One event reached all of them, the median client after"
        f" {found['p50_ms']:.0f} ms, the last after {found['last_ms']:.0f} ms.\n"
    )


def event_log_text(found: Mapping[str, Any]) -> str:
    """Return how many events a second the log takes, and when a reader sees them."""
    rows = []
    for line in found["lines"]:
        rows.append(
            [line["flush"], f"{line['writers']}", short(line["sql_per_second"]), short(line["app_per_second"])]
            + [short(line[key]) for key in ("app_commit_p50_ms", "seen_p50_ms", "seen_p99_ms")]
        )
    head = ["flush", "writers", "SQL events/s", "app events/s", "app commit p50 ms", "seen p50 ms", "seen p99 ms"]
    return (
        "## Event log: events a second\n"
        "Every event is written in one transaction with the UPDATE of a run, and numbered in commit order. *SQL*: `pgbench`, which"
        " sends the statements of the application and costs little itself: what the log can do. *App*: `record_event` through"
        " SQLAlchemy in a process for each writer; Python's own work on the machine's two processors is then most of it."
        " *Seen*: from the INSERT until a reader that polls the log without pause has the event, while the app's writers write; the reader"
        f" must have seen every event once and in order. The disk flushes in {found['flush_ms']:.2f} ms here (the median commit of one writer,"
        f" less the same without a flush); the rows *+ 3 ms* wait that much longer in every flush (`commit_delay`, which the group of"
        f" commits that wait shares), checked: a commit took {found['delayed_ms']:.2f} ms longer.\n\n{table(head, rows)}"
    )


def plot(runs: Runs) -> str:
    """Return the picture: CPU for a delivery under each load, and memory."""
    panels = []
    for load in load_names(runs):
        bars = []
        for server in runs:
            cpu = figure(runs, server, load, "cpu_us")
            bars.append(Bar(server, cpu.median, cpu.least, cpu.most, f"{short(cpu.median)} µs", server == OURS))
        panels.append(Panel(f"CPU for a delivery: {load}", bars))
    return svg(panels, "CPU for a delivery by server and load")


if __name__ == "__main__":
    main()
