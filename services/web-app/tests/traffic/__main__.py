"""Traffic through the balancer of a deployed stack, and whether anybody noticed what was done to it meanwhile.

Clients follow the feed over WebSockets and come back with their cursors, pages are asked for all along, and a process
on a host of the stack sends events. At the end what every client was told is compared with the event log.
The exit status is the verdict: 0 where no client missed or repeated anything, no page request failed, every scan ended
well and every event that was committed is in the log. SIGTERM and Ctrl-C end the load early; the verdict is still made.
"""

import argparse
import asyncio
import json
import secrets
import shlex
import signal
import ssl
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.chaos import crowd
from tests.chaos.follower import Remote
from tests.chaos.ledger import LOG, Entry, entries
from tests.traffic.load import Pages, Scans, Source
from tests.traffic.verdict import Report, compare, missing, quantile
from tests.traffic.visitor import ResyncingVisitor, Visitor, peak

PER_USER = 25  # clients; an instance takes 50 of a user, and a single one may have to carry them all for a while
SETTLE = 90.0  # seconds for everybody to be told everything, and for scans to end


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tests.traffic", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", required=True, help="of the balancer, like https://localhost:8443")
    parser.add_argument("--cafile", required=True, type=Path, help="CA that signed its certificate")
    parser.add_argument("--user", default="admin", help="an administrator")
    parser.add_argument("--password-file", required=True, type=Path)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=20, help="events a second")
    parser.add_argument("--page-rate", type=float, default=10, help="page requests a second")
    parser.add_argument("--seconds", type=float, default=60, help="of load; 0: until SIGTERM")
    parser.add_argument("--report", type=Path, help="file for the figures, as JSON")
    parser.add_argument("--ready-file", type=Path, help="written as soon as all clients are connected")
    parser.add_argument("--scan-tasks", default="", help="ids of tasks to run again and again, like 1,2")
    parser.add_argument("--scan-every", type=float, default=5, help="seconds between two of their starts")
    parser.add_argument("--max-reconnects", type=int, help="a second; more is a bad verdict")
    parser.add_argument("--may-resync", action="store_true", help="clients may be told to load their state anew")
    parser.add_argument(
        "--may-lose-writes", action="store_true", help="committed events may be gone, as after a restore"
    )
    parser.add_argument(
        "--source", default="docker exec -i vuls-worker uv run python", help="Python of a release with its settings"
    )
    parser.add_argument(
        "--psql", default="docker exec -u postgres vuls-db psql -d vuls", help="psql that may read all of the log"
    )
    return parser.parse_args()


class Traffic:
    """One run: who is signed in, what is going on, and what came of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.trust = ssl.create_default_context(cafile=str(options.cafile))
        address = urlsplit(options.url)
        self.balancer = Remote(address.hostname or "localhost", address.port or 443, self.trust)
        self.token = secrets.token_hex(6)
        self.source = Source(shlex.split(options.source), self.token, options.rate)
        self.pages = Pages(options.page_rate)
        self.scans = Scans([int(task) for task in options.scan_tasks.split(",") if task], options.scan_every)
        self.report = Report(clients=options.clients)
        self.over = asyncio.Event()
        self.releases: Counter[str] = Counter()

    async def sign_in(self, name: str, password: str) -> httpx.AsyncClient:
        """Return a client with a session. Raises httpx.HTTPError."""
        client = httpx.AsyncClient(
            base_url=self.options.url, verify=self.trust, headers={"Origin": self.options.url}, timeout=20
        )
        answer = await client.post("/api/auth/login", json={"username": name, "password": password})
        answer.raise_for_status()
        return client

    @asynccontextmanager
    async def people(self, admin: httpx.AsyncClient) -> AsyncIterator[list[httpx.AsyncClient]]:
        """Make as many users as the clients need, signed in; they are removed afterwards."""
        async with AsyncExitStack() as stack:
            found = []
            for number in range(-(-self.options.clients // PER_USER)):
                name, password = f"traffic-{self.token}-{number}", secrets.token_urlsafe(24)
                answer = await admin.post("/api/users", json={"name": name, "password": password, "role": "admin"})
                user = answer.raise_for_status().json()["id"]
                stack.push_async_callback(admin.delete, f"/api/users/{user}")
                found.append(await stack.enter_async_context(aclosing(await self.sign_in(name, password))))
            yield found

    def visitors(self, people: list[httpx.AsyncClient], cursor: str) -> list[Visitor]:
        """Return the clients, spread over the users."""
        kind = ResyncingVisitor if self.options.may_resync else Visitor
        # The sticky cookie is each client's own: a user's browsers do not share one.
        jars = [{name: value for name, value in one.cookies.items() if "route" not in name} for one in people]
        return [
            kind(number, self.options.url, self.balancer, jars[number % len(jars)], cursor)
            for number in range(self.options.clients)
        ]

    async def query(self, statement: str) -> list[list[str]]:
        """Return the rows of a statement as PostgreSQL's own client shows them."""
        process = await asyncio.create_subprocess_exec(
            *shlex.split(self.options.psql), "-XAtq", "-F", "\t", "-c", statement, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"psql ended with {process.returncode}")
        return [line.split("\t") for line in output.decode().splitlines()]

    async def run(self) -> Report:
        """Let it go on and judge it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.over.set)
        password = self.options.password_file.read_text().strip()
        async with aclosing(await self.sign_in(self.options.user, password)) as admin, self.people(admin) as people:
            cursor = (await admin.get("/api/notifications")).raise_for_status().json()["next"]
            visitors = self.visitors(people, cursor)
            async with crowd.following(visitors):
                first_connects = [len(visitor.arrivals) for visitor in visitors]
                await self._load(admin, people)
                await self._settle(admin, visitors)
            await self._judge(visitors, first_connects)
        return self.report

    async def _load(self, admin: httpx.AsyncClient, people: list[httpx.AsyncClient]) -> None:
        began = time.monotonic()
        if self.options.seconds:
            asyncio.get_running_loop().call_later(self.options.seconds, self.over.set)
        if self.options.ready_file:
            self.options.ready_file.write_text(f"{self.options.clients} clients are connected\n")
        async with asyncio.TaskGroup() as going_on:
            going_on.create_task(self.source.run(self.over))
            going_on.create_task(self.pages.run(people, self.over))
            going_on.create_task(self._watch(people[0]))
            if self.scans.tasks:
                going_on.create_task(self.scans.run(self.pages, admin, self.over))
        self.report.seconds = round(time.monotonic() - began, 1)

    async def _watch(self, client: httpx.AsyncClient) -> None:
        """Note which releases answer. What is no answer is the pages' to notice."""
        while not self.over.is_set():
            try:
                self.releases[(await client.get("/readyz")).json()["release"]] += 1
            except (httpx.HTTPError, ValueError, KeyError):
                self.releases["none"] += 1
            await asyncio.sleep(1)

    async def _settle(self, admin: httpx.AsyncClient, visitors: list[Visitor]) -> None:
        await self.scans.settle(self.pages, admin, SETTLE)
        newest = int((await self.query("SELECT coalesce(max(seq), 0) FROM event"))[0][0])
        # A heartbeat takes everybody to the newest event, also to those that are not told one by one.

        def behind() -> list[Visitor]:
            return [visitor for visitor in visitors if visitor.position < newest]

        try:
            await crowd.until(lambda: not behind(), SETTLE, "told everything")
        except AssertionError:
            self.report.blame(
                "never told everything",
                [f"{one.name} is at {one.cursor}: {list(one.history)[-5:]}" for one in behind()],
            )

    async def _judge(self, visitors: list[Visitor], first_connects: list[int]) -> None:
        log = entries(await self._rows(min(visitor.base for visitor in visitors)))
        report = self.report
        for visitor in visitors:
            told = compare(visitor.diary, log, visitor.base)
            report.deliveries += told.deliveries
            report.lost += told.lost
            report.repeated += told.repeated
            report.resyncs += visitor.resyncs
            wrong = visitor.diary.problems + ([told.difference] if told.difference else [])
            report.blame(visitor.name, [f"{text}\n  {list(visitor.history)[-5:]}" for text in wrong])
        arrivals = [visitor.arrivals[first:] for visitor, first in zip(visitors, first_connects, strict=True)]
        again = [at for one in arrivals for at in one]
        report.reconnects, report.peak_reconnects_per_second = len(again), peak(again)
        refused: Counter[int] = Counter()
        for visitor in visitors:
            refused.update(visitor.refused)
        report.refused_handshakes = {str(status): count for status, count in sorted(refused.items())}
        if self.options.max_reconnects and report.peak_reconnects_per_second > self.options.max_reconnects:
            report.blame("too many reconnects at once", [f"{report.peak_reconnects_per_second} in a second"])
        waits = sorted(wait for visitor in visitors for wait in visitor.waits)
        report.wait_p50, report.wait_p99 = (round(quantile(waits, share), 3) for share in (0.5, 0.99))
        report.longest_wait = round(waits[-1], 3) if waits else 0.0
        self._judge_log(log, await self._numbers())
        self._judge_pages_and_scans()

    async def _rows(self, after: int) -> list[list[str]]:
        return await self.query(LOG.replace("%s", str(after)))

    async def _numbers(self) -> list[int]:
        """Return the numbers of this run's events that are in the log."""
        rows = await self.query(
            "SELECT data->'result_data'->>'number' FROM event WHERE type = 'task_update'"
            f" AND data->'result_data'->>'traffic' = '{self.token}'"
        )
        return [int(number) for (number,) in rows]

    def _judge_log(self, log: list[Entry], numbers: list[int]) -> None:
        report = self.report
        report.events_sent, report.events_logged = len(self.source.stored), len(log)
        report.writes_refused = len(self.source.errors)
        gone = missing(self.source.stored, numbers)
        report.missing_from_log = len(gone)
        if not self.source.stored:
            report.blame("nothing happened", ["no event could be sent", *self.source.errors[-3:]])
        if gone and not self.options.may_lose_writes:
            report.blame("committed and not in the log once", [str(number) for number in gone])

    def _judge_pages_and_scans(self) -> None:
        report = self.report
        report.page_requests, report.failed_page_requests = self.pages.asked, len(self.pages.failures)
        report.repeated_page_requests, report.slowest_page = self.pages.repeated, round(self.pages.slowest, 3)
        report.blame("failed page request", self.pages.failures)
        report.scans_started = len(self.scans.started)
        report.scans_ended_well = sum(end == "success" for end in self.scans.ends.values())
        ends = [(run, self.scans.ends.get(run, "no end")) for run in self.scans.started]
        report.blame("a scan did not end well", [f"run {run}: {end}" for run, end in ends if end != "success"])
        report.releases = dict(self.releases)


def main() -> int:
    """Run it, write the report, print the verdict; return the exit status."""
    options = arguments()
    report = crowd.run(_traffic(options))
    text = json.dumps(report.as_dict(), indent=2)
    if options.report:
        options.report.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return 1 if report.problems else 0


async def _traffic(options: argparse.Namespace) -> Report:
    return await Traffic(options).run()


if __name__ == "__main__":
    sys.exit(main())
