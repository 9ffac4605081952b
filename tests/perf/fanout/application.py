"""Runs our instance for the benchmark, and makes events happen: a program in the web application's own environment.

    cd services/web-app && PYTHONPATH=. python ../../tests/perf/fanout/application.py

Commands come as lines of JSON on standard input, and each is answered with one:
start (connections, cpu, port), publish (first, count, interval, size, mark), events, stop.
"""

# mypy: disable-error-code="import-not-found, no-any-return"
# (the checker of tests/ has the controller's packages, and `tests` is the application's own here)

import contextlib
import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from app.db import tokens, users
from app.db.engine import make_engine, session_factory
from app.db.events import load_event, record_event
from app.db.models import Host, HostGroup
from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent, envelope, task_update_data
from app.domain.permissions import Role
from app.utils.notification_service.publisher import Publisher
from app.utils.passwords import new_token, secret_hash

from tests.edge.process import InstanceProcess, eventually
from tests.services import create_database, drop_database, required

USERS = {Role.ADMIN: 2, Role.OPERATOR: 6, Role.VIEWER: 12}  # all of them may see the host that the events are of
GROUP = "perf"
FIRST_SEQUENCE = 1_000_000  # every id has the same length then, and every message the same size
START_SECONDS = 90
COUNTS = {"vulnerabilities": 9, "critical": 1, "high": 3, "medium": 3, "low": 1, "unknown": 1}
DEPLOYED = {  # what the tests' instance has otherwise than a deployed one
    "heartbeat_interval": 15.0,
    "permission_recheck_interval": 5.0,
    "digest_rate": 50,
    "accept_manual_notifications": False,
}


@dataclass
class Application:
    """A database with users and a host, the instance over it, and the writer of events."""

    folder: Path

    def __post_init__(self) -> None:
        self.database = create_database(required("VULS_TEST_DATABASE_URL"))
        self.database.execute(f"SELECT setval('event_seq', {FIRST_SEQUENCE})")
        self.host_id, self.tokens = self._world()
        settings = self.database.settings("worker")
        self.engine = make_engine(settings)
        self.sessions = session_factory(self.engine)
        self.publisher = Publisher(settings)
        self.instance: InstanceProcess | None = None

    def _world(self) -> tuple[int, list[str]]:
        """Make the host, and users of every role with a token each; return the host's id and the tokens."""
        engine = make_engine(self.database.settings("web"))
        with session_factory(engine).begin() as session:
            group = HostGroup(name=GROUP)
            host = Host(name="web-1", address="192.0.2.1", groups=[group])
            session.add_all([group, host])
            session.flush()
            secrets = []
            for role, count in USERS.items():
                for number in range(count):
                    groups = [] if role is Role.ADMIN else [GROUP]
                    user = users.create_user(
                        session, name=f"{role}-{number}", role=role, password_hash=None, groups=groups
                    )
                    secret = new_token()
                    tokens.create_token(
                        session, user_id=user.id, name="perf", prefix=secret[:8], token_hash=secret_hash(secret),
                        expires_at=None,
                    )  # fmt: skip
                    secrets.append(secret)
        engine.dispose()
        return host.id, secrets

    def start(self, connections: int, cpu: int, port: int | None) -> dict[str, Any]:
        """Start an instance as it is deployed, alone on its processor, that takes so many connections.

        With `port` it listens there, and not on its Unix socket.
        """
        own = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {cpu})
        os.environ["GUNICORN_CMD_ARGS"] = f"--bind 127.0.0.1:{port}" if port else ""
        try:
            instance = InstanceProcess(
                self.database, connections_per_user=connections, connections_per_address=connections, **DEPLOYED
            )
        finally:
            os.sched_setaffinity(0, own)
        self.instance = instance
        address = str(port or instance.http_socket)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") if port else instance.client() as client:
            eventually(lambda: _is_ready(client), START_SECONDS, lambda: instance.log)
        master = instance.process.pid
        (worker,) = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        token_file = self.folder / "tokens"
        token_file.write_text("".join(f"{token}\n" for token in self.tokens))
        return {"address": address, "pid": int(worker), "tokens": str(token_file)}

    def stop(self) -> dict[str, Any]:
        """End the instance; what it should not have logged is in the answer."""
        if self.instance is None:
            return {}
        self.instance.stop()
        log = self.instance.log
        self.instance.remove()
        self.instance = None
        return {"traceback": log[log.index("Traceback") :][:4000]} if "Traceback" in log else {}

    def publish(self, first: int, count: int, interval: float, size: int, mark: str) -> dict[str, Any]:
        """Make events happen as in a scan: a row in a transaction, then the wake-up.

        One transaction each, `interval` seconds apart; with the interval 0 all rows are of one transaction. The time in
        a message is that at which its transaction began, so that what PostgreSQL and Redis take is counted.
        """
        began, late = time.monotonic(), 0.0
        if interval:
            for number in range(first, first + count):
                due = began + (number - first) * interval
                time.sleep(max(0.0, due - time.monotonic()))
                late = max(late, time.monotonic() - due)
                self._publish([number], size, mark)
        else:
            self._publish(range(first, first + count), size, mark)
        return {"seconds": time.monotonic() - began, "late": late}

    def _publish(self, numbers: Any, size: int, mark: str) -> None:
        at = time.monotonic_ns()
        with self.sessions.begin() as session:
            marks = [mark.format(number=number, at=at) for number in numbers]
            events = [record_event(session, "task_update", self.host_id, self._data(text, size)) for text in marks]
        with self.sessions() as session:
            stored = [load_event(session, event.id) for event in events]
        for item in stored:
            if not self.publisher.publish(item):
                raise RuntimeError("Redis did not take a wake-up")

    def _data(self, mark: str, size: int) -> dict[str, Any]:
        """Return a finished scan that found something critical, so that it is never merged with others."""
        result = {"verdict": "assessed", **COUNTS}
        data = task_update_data(7, 15, "success", mark, result, datetime.now(UTC))
        event = StoredEvent(Cursor("12345678", FIRST_SEQUENCE), "task_update", self.host_id, data, datetime.now(UTC))
        room = size - len(json.dumps(envelope(event), separators=(",", ":")))
        if room < 1:
            raise ValueError(f"an event does not fit into {size} bytes")
        return data | {"task_name": mark + " " + "x" * (room - 1)}

    def events(self) -> dict[str, Any]:
        """Say how many events the log holds."""
        return {"events": self.database.execute("SELECT count(*) FROM event")[0][0]}

    def close(self) -> None:
        """Leave nothing behind."""
        self.stop()
        self.engine.dispose()
        drop_database(self.database)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def main() -> None:
    """Answer commands until standard input ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.closing(Application(Path(sys.argv[1]))) as application:
        for line in sys.stdin:
            arguments = json.loads(line)
            answer = getattr(application, arguments.pop("do"))(**arguments)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
