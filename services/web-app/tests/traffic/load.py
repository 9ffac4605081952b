"""What goes on while clients listen: events, pages that are asked for, and scans."""

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

PAGES = ("/", "/api/overview", "/api/hosts", "/api/scheduled-tasks", "/api/auth/me", "/static/scheduler.js", "/readyz")
FINAL = {"success", "failed", "cancelled"}

# Runs on a host of the stack: sends events by the function that is there for it, until its input ends.
_WRITE = """
import json, sys, threading, time
from app.tasks.scan_tasks import send_task_notification
token, rate, ended = sys.argv[1], float(sys.argv[2]), threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
number, due = 0, time.monotonic()
while not ended.is_set():
    try:
        message = send_task_notification(0, number, "success", "Traffic", {"traffic": token, "number": number})
        line = {"number": number, "id": message["id"]}
        number += 1
    except Exception as error:
        line = {"error": f"{type(error).__name__}: {error}"[:300]}
        time.sleep(0.2)
    print(json.dumps(line), flush=True)
    due = max(due + 1 / rate, time.monotonic() - 1)
    ended.wait(max(0, due - time.monotonic()))
"""


class Source:
    """A process on a host of the stack that makes events at a steady rate.

    What it could not store it tries again. A number that it has said was stored was committed.
    """

    def __init__(self, command: Sequence[str], token: str, rate: float) -> None:
        self.stored: list[int] = []
        self.errors: list[str] = []
        self._command = [*command, "-c", _WRITE, token, str(rate)]

    async def run(self, until: asyncio.Event) -> None:
        """Make events until told to stop.

        Raises:
            RuntimeError: the process ended by itself.
        """
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, stderr=pipe)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        stdin, complaints = process.stdin, asyncio.create_task(process.stderr.read())

        async def stop() -> None:
            await until.wait()
            stdin.close()

        stopping = asyncio.create_task(stop())
        try:
            async for line in process.stdout:
                said = json.loads(line)
                if "error" in said:
                    self.errors.append(said["error"])
                else:
                    self.stored.append(said["number"])
            if await process.wait() or not until.is_set():
                tail = (await complaints).decode(errors="replace")[-1500:]
                raise RuntimeError(f"the source of events ended with {process.returncode}: {tail}")
        finally:
            stopping.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()


@dataclass
class Pages:
    """Requests one after the other at a steady rate, over connections that are kept as a browser keeps them."""

    rate: float
    asked: int = 0
    repeated: int = 0  # asked again on a new connection, because the kept one had been closed meanwhile
    slowest: float = 0.0  # seconds
    failures: list[str] = field(default_factory=list)

    async def ask(self, client: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response | None:
        """Return the answer; None where it is a failure, which is noted."""
        self.asked += 1
        began = time.monotonic()
        try:
            try:
                response = await client.request(method, path, **more)
            except (httpx.RemoteProtocolError, httpx.ReadError):
                # RFC 9112, 9.3.1: an idle connection may be closed as a request leaves; every browser asks again.
                self.repeated += 1
                response = await client.request(method, path, **more)
        except httpx.HTTPError as error:
            self._fail(f"{method} {path}: {type(error).__name__} {error}")
            return None
        self.slowest = max(self.slowest, time.monotonic() - began)
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            self._fail(f"{method} {path}: {response.status_code} {response.text[:200]}")
            return None
        return response

    def _fail(self, text: str) -> None:
        self.failures.append(f"{time.strftime('%X')} {text}")

    async def run(self, clients: Sequence[httpx.AsyncClient], until: asyncio.Event) -> None:
        """Ask for pages until told to stop; each request waits for nobody's answer but its own client's."""
        asking: set[asyncio.Task[Any]] = set()
        for client, path in zip(itertools.cycle(clients), itertools.cycle(PAGES), strict=False):
            if await _set_within(until, 1 / self.rate):
                break
            asking.add(task := asyncio.create_task(self.ask(client, "GET", path)))
            task.add_done_callback(asking.discard)
        await asyncio.gather(*asking)


@dataclass
class Scans:
    """Runs of tasks that are started again and again. Each has to end well."""

    tasks: Sequence[int]
    every: float  # seconds
    started: list[int] = field(default_factory=list)
    ends: dict[int, str] = field(default_factory=dict)

    async def run(self, pages: Pages, client: httpx.AsyncClient, until: asyncio.Event) -> None:
        """Start them until told to stop."""
        for task in itertools.cycle(self.tasks):
            response = await pages.ask(client, "POST", f"/api/scheduled-tasks/{task}/run")
            if response is not None:
                self.started.append(response.json()["id"])
            if await _set_within(until, self.every):
                return

    async def settle(self, pages: Pages, client: httpx.AsyncClient, seconds: float) -> None:
        """Wait for their ends, at most so many seconds."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            for run in [run for run in self.started if run not in self.ends]:
                response = await pages.ask(client, "GET", f"/api/runs/{run}")
                if response is not None and (found := response.json())["status"] in FINAL:
                    self.ends[run] = found["status"] + _reason(found)
            if len(self.ends) == len(self.started):
                return
            await asyncio.sleep(0.5)


def _reason(run: dict[str, Any]) -> str:
    reason = (run.get("result_data") or {}).get("reason")
    return f": {reason['code']}" if run["status"] != "success" and reason else ""


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
