"""An executor's HTTP side on a Unix socket: real requests, and jobs whose course the test decides."""

import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self

import orjson

from tests.recordings import Recording

API_KEY = "only-for-tests"
Answer = tuple[int, dict[str, Any] | bytes]


def reported(server: str = "t1", recording: str = "report-ok", **changes: Any) -> dict[str, Any]:
    """What a finished job says of a recorded scan and report."""
    result = {key: value for key, value in Recording(recording).result(server).items() if key != "config"}
    return {"state": "done", "scan_exit": 0, "report_exit": 0, "result": result | changes}


@dataclass
class ExecutorDouble:
    """Answers like the executor. A job scans until `let_end` is set, then ends as `end` says."""

    socket_path: Path
    end: Callable[[str], dict[str, Any]] = lambda _server: reported()
    let_end: threading.Event = field(default_factory=threading.Event)
    scanning: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    submitted: list[dict[str, Any]] = field(default_factory=list)
    called: list[str] = field(default_factory=list)  # the calls that brought them
    answers: list[Answer] = field(default_factory=list)  # given to the next requests instead of the usual
    keys: set[str] = field(default_factory=set)
    health: dict[str, Any] = field(default_factory=lambda: {"status": "ok"})
    says: dict[str, Any] = field(default_factory=dict)  # of a job that goes on: state, phase, log
    goes_on: bool = False  # although it was cancelled
    mute: bool = False  # takes jobs, and no answer to that arrives
    _server: socketserver.ThreadingUnixStreamServer | None = None

    def __post_init__(self) -> None:
        self.let_end.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.socket_path.unlink(missing_ok=True)
        self._server = socketserver.ThreadingUnixStreamServer(str(self.socket_path), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Be away, as in a restart; jobs are kept."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.socket_path.unlink(missing_ok=True)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        if self.answers:
            return self.answers.pop(0)
        if method == "POST" and path in {"/scan", "/check", "/assess"}:
            self.called.append(path)
            answer = self._submit(body)
            return problem(503, "away") if self.mute else answer
        if (method, path) == ("GET", "/health"):
            return 200, self.health
        job_id = path.removeprefix("/jobs/")
        if job_id not in self.jobs:
            return problem(404, "unknown_job")
        if method == "DELETE":
            self.cancelled.set()
            if not self.goes_on:
                self.jobs[job_id] |= {"state": "cancelled"}
            return 202, self.jobs[job_id]
        return 200, self._look(job_id)

    def _submit(self, body: dict[str, Any]) -> Answer:
        self.submitted.append(body)
        if body["job_id"] in self.jobs:
            return 200, self._look(body["job_id"])
        self.jobs[body["job_id"]] = {"id": body["job_id"], "server": body["server"], "state": "accepted"}
        return 202, self.jobs[body["job_id"]]

    def _look(self, job_id: str) -> dict[str, Any]:
        job = self.jobs[job_id]
        if job["state"] in {"accepted", "preparing", "scanning", "reporting"}:
            job |= self.end(job["server"]) if self.let_end.is_set() else {"state": "scanning"} | self.says
            self.scanning.set()
        return job

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = orjson.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
                double.keys.add(self.headers.get("X-API-Key", ""))
                status, answer = double.answer(self.command, self.path, body)
                content = answer if isinstance(answer, bytes) else orjson.dumps(answer)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = _serve  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

            def address_string(self) -> str:
                return "unix"

        return Handler


def problem(status: int, code: str, detail: str = "Words for people") -> Answer:
    return status, {"type": f"urn:x:{code}", "status": status, "code": code, "detail": detail}
