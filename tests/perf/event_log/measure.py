"""Measures the event log: a program in the web application's own environment; see `__main__.py`.

Every event is written in one transaction with the UPDATE of a run, and a reader follows the log meanwhile. The run
fails when the reader missed an event, saw one twice, or saw those of a writer in another order than they were written.
"""

# mypy: disable-error-code="import-not-found, no-any-return, untyped-decorator"
# (the checker of tests/ has the controller's packages, and `tests` is the application's own here)

import contextlib
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event as Signal
from pathlib import Path
from typing import Any

import psycopg
from app.db.engine import make_engine, session_factory
from app.db.events import read_events, record_event
from app.db.models import Host, Run
from sqlalchemy import update

from tests.services import Database, create_database, drop_database, required

WRITERS = (1, 8, 32)
FLUSH_DELAY = 3000  # microseconds
COMMITS = 200  # for the time of a flush
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
BATCH = 500
SCRIPT = """\
\\set id :first + :client_id
BEGIN;
UPDATE run SET attempt = 1 - attempt WHERE id = :id;
INSERT INTO event (type, host_id, data) VALUES ('task_update', :host, '{data}') RETURNING id;
COMMIT;
"""
DATA = {
    "task_id": 7, "task_run_id": 15, "status": "success", "task_name": "Scan web-1",
    "result_data": {"verdict": "assessed", "vulnerabilities": 9, "critical": 2, "high": 2, "medium": 3, "low": 1},
    "timestamp": "2025-06-27T15:49:26.760966", "host_name": "web-1",
}  # fmt: skip
fork = multiprocessing.get_context("fork")


def main() -> None:
    """Measure, print a line for each number of writers, and write the results."""
    out, seconds = Path(sys.argv[1]), float(sys.argv[2])
    database = create_database(required("VULS_TEST_DATABASE_URL"))
    try:
        with _durable(database):
            result = _measure(database, seconds)
    finally:
        drop_database(database)
    out.write_text(json.dumps({"result": result}, indent=1) + "\n")


def _measure(database: Database, seconds: float) -> dict[str, Any]:
    host_id, first = _rows(database)
    _configure(database, synchronous_commit="off")
    unflushed = _commit_ms(database, first)
    _configure(database, synchronous_commit="on")
    flushed = _commit_ms(database, first)
    lines = [_line(database, "as it is", count, host_id, first, seconds) for count in WRITERS]
    _configure(database, commit_delay=str(FLUSH_DELAY), commit_siblings="0")
    delayed = _commit_ms(database, first)
    if delayed - flushed < FLUSH_DELAY / 1000:
        raise SystemExit(f"a commit should take {FLUSH_DELAY} µs longer, but took {delayed - flushed:.2f} ms")
    lines += [_line(database, "+ 3 ms", count, host_id, first, seconds) for count in WRITERS]
    return {"flush_ms": flushed - unflushed, "delayed_ms": delayed - flushed, "lines": lines}


def _line(
    database: Database, flush: str, writers: int, host_id: int, first: int, seconds: float
) -> dict[str, str | float]:
    line: dict[str, str | float] = {"flush": flush, "writers": writers}
    line["sql_per_second"] = _pgbench(database, writers, host_id, first, seconds)
    line |= _application(database, writers, host_id, first, seconds)
    sys.stderr.write(
        f"flush {flush}, {writers} writers: {line['sql_per_second']:.0f} events/s in SQL, {line['app_per_second']:.0f}"
        f" through the application; seen after {line['seen_p50_ms']:.1f} ms (p99 {line['seen_p99_ms']:.1f})\n"
    )
    return line


@contextlib.contextmanager
def _durable(database: Database) -> Iterator[None]:
    """Have commits reach the disk, as in a deployment; the test services do without otherwise."""
    _configure(database, **DURABLE)
    try:
        yield
    finally:
        for name in (*DURABLE, "commit_delay", "commit_siblings"):
            database.execute(f"ALTER SYSTEM RESET {name}")
        database.execute("SELECT pg_reload_conf()")


def _configure(database: Database, **settings: str) -> None:
    for name, value in settings.items():
        database.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    database.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 10
    while any(database.execute(f"SHOW {name}") != [(value,)] for name, value in settings.items()):
        if time.monotonic() > deadline:
            raise SystemExit(f"PostgreSQL did not take {settings}")
        time.sleep(0.05)


def _rows(database: Database) -> tuple[int, int]:
    """Make a host and a run for each writer; return the host's id and that of the first run."""
    engine = make_engine(database.settings("web"))
    with session_factory(engine).begin() as session:
        host = Host(name="web-1", address="192.0.2.1")
        session.add(host)
        session.flush()
        values = {"task_name": "Scan web-1", "host_id": host.id, "zone": "default", "scan_type": "fast"}
        runs = [Run(**values, trigger="manual", status="started", task_id=0) for _ in range(max(WRITERS))]
        session.add_all(runs)
        session.flush()
        found = host.id, min(run.id for run in runs)
    engine.dispose()
    return found


def _commit_ms(database: Database, run_id: int) -> float:
    """Return the median time that the commit of a small change takes."""
    times = []
    with psycopg.connect(database.admin_url) as connection:
        for _ in range(COMMITS):
            connection.execute("UPDATE run SET attempt = 0 WHERE id = %s", (run_id,))
            began = time.perf_counter()
            connection.commit()
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def _pgbench(database: Database, writers: int, host_id: int, first: int, seconds: float) -> float:
    """Return the events a second that PostgreSQL takes from a client that costs little."""
    script = SCRIPT.format(data=json.dumps(DATA))
    pgbench = (
        f"cat >/tmp/perf.sql && pgbench --no-vacuum --protocol=prepared --file=/tmp/perf.sql --client={writers}"
        f" --time={max(1, round(seconds))} --define=first={first} --define=host={host_id} {database.name}"
    )
    shell = ["docker", "exec", "--interactive", "--user", "postgres", os.environ["VULS_TEST_SERVICES_CONTAINER"]]
    path = "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH"
    command = [*shell, "sh", "-ec", f"{path}; {pgbench}"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
    if done.returncode or found is None or "number of failed transactions: 0 " not in done.stdout:
        raise SystemExit(f"pgbench failed:\n{done.stdout}{done.stderr}")
    return float(found[1])


def _application(database: Database, writers: int, host_id: int, first: int, seconds: float) -> dict[str, float]:
    """Write through the application in a process for each writer, and follow the log in another one."""
    ready, done = fork.Barrier(writers + 2), fork.Event()
    reports: Any = fork.SimpleQueue()
    reading, seen_end = fork.Pipe()
    reader = fork.Process(target=_follow, args=(database, ready, done, seen_end))
    processes = [
        fork.Process(target=_write, args=(database, number, host_id, first + number, seconds, ready, reports))
        for number in range(writers)
    ]
    for process in [*processes, reader]:
        process.start()
    ready.wait(60)
    written = [reports.get() for _ in processes]
    done.set()
    delays = _checked(reading.recv(), {number: len(times) for number, times in written})
    for process in [*processes, reader]:
        process.join(30)
    times = [value for _, each in written for value in each]
    return {
        "app_per_second": len(times) / seconds,
        "app_commit_p50_ms": statistics.median(times) * 1000,
        "seen_p50_ms": statistics.median(delays) * 1000,
        "seen_p99_ms": statistics.quantiles(delays, n=100)[98] * 1000,
    }


def _write(
    database: Database, number: int, host_id: int, run_id: int, seconds: float, ready: Any, reports: Any
) -> None:
    engine = make_engine(database.settings("worker"))
    sessions = session_factory(engine)
    times: list[float] = []
    with sessions() as session:
        session.execute(update(Run).where(Run.id == run_id).values(attempt=0))  # so that it is connected
    ready.wait(60)
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        with sessions.begin() as session:
            session.execute(update(Run).where(Run.id == run_id).values(attempt=1 - Run.attempt))
            record_event(session, "task_update", host_id, DATA | {"writer": number, "number": len(times)})
        times.append(time.monotonic() - began)
    reports.put((number, times))
    engine.dispose()


def _follow(database: Database, ready: Any, done: Signal, report: Any) -> None:
    """Read the log from its end until the writers are done and nothing more comes; report what was seen, and when."""
    engine = make_engine(database.settings("web"))
    sessions = session_factory(engine)
    (after,) = database.execute("SELECT coalesce(max(seq), 0) FROM event")[0]
    seen: list[tuple[int, int, float]] = []
    ready.wait(60)
    while True:
        ending = done.is_set()
        with sessions() as session:
            events = read_events(session, after, BATCH)[1]
        now = time.time()
        seen += [(e.data["writer"], e.data["number"], now - e.created_at.timestamp()) for e in events]
        if events:
            after = events[-1].cursor.sequence
        elif ending:
            break
        else:
            time.sleep(0.001)
    report.send(seen)
    engine.dispose()


def _checked(seen: list[tuple[int, int, float]], written: dict[int, int]) -> list[float]:
    """Return how long each event took to be seen, once it is sure that each was seen once and in order."""
    for writer, count in written.items():
        numbers = [number for by, number, _ in seen if by == writer]
        if numbers != list(range(count)):
            raise SystemExit(f"the reader saw {len(numbers)} of {count} events of writer {writer}, or not in order")
    return [delay for _, _, delay in seen]


if __name__ == "__main__":
    main()
