"""Writes docs/performance.md and its picture from the results of a run.

python -m tests.perf.report RESULTS [PAGE]     RESULTS: the folder that tests/perf/run.sh filled
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from tests.perf.fanout.servers import FLOOR, OURS
from tests.perf.figures import Figure, short
from tests.perf.plot import Bar, Panel, svg

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/performance.md"
TIMES_FLOOR = "× C loop"  # noqa: RUF001  (the sign for times)
BUSY = 0.95  # of the clients' processor: above it, the clients are the limit
Runs = Mapping[str, Sequence[Mapping[str, Any]]]

NOT_MEASURED = "Not measured in this run.\n"


def main() -> None:
    """Read the results and write the page."""
    folder = Path(sys.argv[1])
    page = Path(sys.argv[2]) if len(sys.argv) > 2 else PAGE
    results = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    text, picture = render(results, page.with_suffix(".svg").name)
    page.write_text(text)
    page.with_suffix(".svg").write_text(picture)


def render(results: Mapping[str, Any], picture: str) -> tuple[str, str]:
    """Return the page and its picture. `results` has the content of each file of results by its name."""
    fanout = results["fanout-tcp"]
    runs: Runs = fanout["result"]
    page = Template(Path(__file__).with_name("page.md").read_text()).substitute(
        runs=_counts(runs),
        machine="  \n".join(f"{name}: {value}" for name, value in fanout["machine"].items()),
        foreign=f"{max(run['loads'][load]['foreign'] for run in _all(runs) for load in run['loads']):.0%}",
        picture=picture,
        tcp=load_tables(runs, "TCP, TCP_NODELAY"),
        unix=_section(results, "fanout-unix", lambda found: load_tables(found, "Unix socket")),
        memory=memory_table(runs),
        wishes=wish_table(runs),
        connections=_section(results, "connections", connections_text),
        event_log=_section(results, "event_log", event_log_text),
    )
    return page.rstrip("\n") + "\n", plot(runs)


def _all(runs: Runs) -> list[Mapping[str, Any]]:
    return [run for each in runs.values() for run in each]


def _counts(runs: Runs) -> str:
    """Say how many runs there were, and of which load fewer."""
    each = next(iter(runs.values()))
    counts = {load: sum(load in run["loads"] for run in each) for load in load_names(runs)}
    fewer = sorted({count for count in counts.values() if count < len(each)})
    return f"{len(each)} alternating runs" + (f", of {fewer[0]} with 10,000 clients" if fewer else "")


def _section(results: Mapping[str, Any], name: str, text: Callable[[Any], str]) -> str:
    return text(results[name]["result"]) if name in results else NOT_MEASURED


def load_tables(runs: Runs, transport: str) -> str:
    """Return a table for each load."""
    return "\n".join(load_table(runs, load, transport) for load in load_names(runs))


def load_names(runs: Runs) -> list[str]:
    """Return the loads that every server had."""
    return list(next(iter(runs.values()))[0]["loads"])


def measured(runs: Runs, load: str) -> list[str]:
    """Return the servers with figures of a load: a peer that lost messages in every round has none."""
    return [server for server, each in runs.items() if any(load in run["loads"] for run in each)]


def figure(runs: Runs, server: str, load: str, key: str) -> Figure:
    """Return one figure of a server under a load, over all runs."""
    return Figure.of(run["loads"][load][key] for run in runs[server] if load in run["loads"])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; numbers stand right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def load_table(runs: Runs, load: str, transport: str) -> str:
    """Return the table of one load, the cheapest server first."""
    floor = figure(runs, FLOOR, load, "cpu_us").median if FLOOR in runs else None
    head = ["server", "CPU µs/delivery", TIMES_FLOOR, "deliveries/s", "p50 ms", "p99 ms", "last client ms", "joined"]
    rows = []
    for server in sorted(measured(runs, load), key=lambda name: figure(runs, name, load, "cpu_us").median):
        cpu = figure(runs, server, load, "cpu_us")
        limited = "†" if figure(runs, server, load, "client_cpu_busy").median > BUSY else ""
        times = [f"{figure(runs, server, load, key)}{limited}" for key in ("per_second", "p50_ms", "p99_ms", "last_ms")]
        ratio = f"{cpu.median / floor:.2f}" if floor else ""
        rows.append([emphasis(server), str(cpu), ratio, *times, short(figure(runs, server, load, "joined").median)])
    missing = [server for server in runs if server not in measured(runs, load)]
    note = f"\nNo figures of {', '.join(missing)}: not every client got every message.\n" if missing else ""
    return f"### {load} ({transport})\n{table(head, rows)}{note}"


def emphasis(server: str) -> str:
    """Return a server's name, ours in bold."""
    return f"**{server}**" if server == OURS else server


def idle_memory(runs: Runs) -> dict[str, Figure]:
    """Return the KiB of an idle connection, by server, where they were measured."""
    found = {server: [run["idle_kib"] for run in each if run["idle_kib"] is not None] for server, each in runs.items()}
    return {server: Figure.of(values) for server, values in found.items() if values}


def memory_table(runs: Runs) -> str:
    """Return what an idle connection holds in memory, the least first."""
    figures = sorted(idle_memory(runs).items(), key=lambda item: item[1].median)
    rows = [[emphasis(server), str(memory)] for server, memory in figures]
    return table(["server", "KiB"], rows) if rows else NOT_MEASURED


@dataclass(frozen=True, slots=True)
class Wish:
    """What a figure of ours should be at most."""

    load: str
    key: str  # of what is measured; `cpu_us` is compared with the C loop's
    most: float
    unit: str


WISHES = (
    Wish("1,000 clients, 50 messages/s", "cpu_us", 1.25, TIMES_FLOOR),
    Wish("1,000 clients, bursts of 100", "cpu_us", 0.15, TIMES_FLOOR),
    Wish("10,000 clients, 5 messages/s", "cpu_us", 1.3, TIMES_FLOOR),
    Wish("1,000 clients, 50 messages/s", "p99_ms", 20, "ms p99"),
)
IDLE_WISH = 4  # KiB


def wish_table(runs: Runs) -> str:
    """Return what was wished for of ours, and whether it came true."""
    rows = []
    for wish in WISHES:
        if wish.load in load_names(runs):
            value = figure(runs, OURS, wish.load, wish.key).median
            if wish.unit == TIMES_FLOOR:
                value /= figure(runs, FLOOR, wish.load, wish.key).median
            rows.append([wish.load, *_verdict(value, wish.most, wish.unit)])
    if OURS in (memory := idle_memory(runs)):
        rows.append(["an idle connection", *_verdict(memory[OURS].median, IDLE_WISH, "KiB")])
    return table(["of ours", "wish", "measured", "kept"], rows)


def _verdict(value: float, most: float, unit: str) -> list[str]:
    return [f"≤ {most:g} {unit}", f"{short(value)} {unit}", "yes" if value <= most else "**no**"]


def connections_text(found: Mapping[str, float]) -> str:
    """Return what one instance with very many clients needed."""
    return (
        f"{found['connections']:,.0f} clients of one instance signed in and connected within"
        f" {found['connect_seconds']:.0f} s. It then held {found['resident_mib']:.0f} MiB,"
        f" {short(found['per_connection_kib'])} KiB for each. One event reached all of them: the median client after"
        f" {found['p50_ms']:.0f} ms, the last after {found['last_ms']:.0f} ms.\n"
    )


def event_log_text(found: Mapping[str, Any]) -> str:
    """Return how many events a second the log takes, and when a reader sees them."""
    keys = ("sql_per_second", "app_per_second", "app_commit_p50_ms", "seen_p50_ms", "seen_p99_ms")
    rows = [[f"{line['writers']}", line["flush"], *(short(line[key]) for key in keys)] for line in found["lines"]]
    head = ["writers", "flush", "SQL events/s", "app events/s", "app transaction p50 ms", "seen p50 ms", "seen p99 ms"]
    return (
        f"{table(head, rows)}\nThe flush makes a commit {found['flush_ms']:.2f} ms longer here. For *+ 3 ms*,"
        f" PostgreSQL waits that long before each (`commit_delay`); a commit was then {found['delayed_ms']:.2f} ms"
        " longer again.\n"
    )


def plot(runs: Runs) -> str:
    """Return the picture: CPU for a delivery under each load, and memory."""
    panels = []
    for load in load_names(runs):
        bars = []
        for server in measured(runs, load):
            cpu = figure(runs, server, load, "cpu_us")
            bars.append(Bar(server, cpu.median, cpu.least, cpu.most, f"{short(cpu.median)} µs", server == OURS))
        panels.append(Panel(f"CPU for a delivery: {load}", bars))
    return svg(panels, "CPU for a delivery by server and load")


if __name__ == "__main__":
    main()
