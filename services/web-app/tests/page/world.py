"""What the page shows in tests: hosts, tasks and runs that end in every way a run can."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, sessionmaker

from app.db import tokens, users
from app.db.events import head, load_event, record_event
from app.db.findings import assessed_scan, record_changes
from app.db.models import Event, Finding, Host, HostGroup, Run, Scan, ScheduledTask
from app.db.progress import note_progress
from app.db.run_log import append_lines
from app.db.runs import claim_run, create_run, finish_run
from app.db.scan_hosts import ExecutorState, note_scan_host
from app.db.sessions import start_session
from app.db.tasks import create_task
from app.domain.difference import Changed
from app.domain.envelope import TASK_UPDATE, task_update_data
from app.domain.permissions import Role
from app.utils.notification_service.publisher import Publisher
from app.utils.passwords import new_secret, new_token, secret_hash
from tests.waiting import wait_until

PASSWORD = "correct horse battery"

COUNTS = {"critical": 2, "high": 2, "medium": 3, "low": 1, "unknown": 1}
ASSESSED = {"verdict": "assessed", "vulnerabilities": 9, **COUNTS}
CLEAN = {"verdict": "assessed", "vulnerabilities": 0, **dict.fromkeys(COUNTS, 0)}
_NO_COUNTS = {"vulnerabilities": None, **dict.fromkeys(COUNTS)}
NOT_ASSESSED = {
    "verdict": "not_assessed",
    **_NO_COUNTS,
    "reason": {"code": "database_missing", "sentence": "The vulnerability database is missing on the scan host."},
}
FAILED = {
    "verdict": "failed",
    **_NO_COUNTS,
    "reason": {"code": "host_unreachable", "sentence": "vuls-target-1 did not answer on port 22."},
}


@dataclass(frozen=True)
class World:
    """Changes the database as the parts of the system do, and tells of it as they do."""

    web: sessionmaker[Session]
    worker: sessionmaker[Session]
    publisher: Publisher
    password_hash: str

    def begin(self) -> None:
        """An event that came before the page: a log without any has no oldest one to compare cursors with."""
        with self.web.begin() as session:
            record_event(session, "notice", None, {})

    def tell_of_scan_host(self, state: ExecutorState, name: str = "scan-1", age: timedelta | None = None) -> None:
        """A worker tells how its host is, with a database of that age if there is one."""
        digest = None if age is None else "sha256:" + "4f" * 32
        with self.worker.begin() as session:
            note_scan_host(session, "default", name, state, digest, None if age is None else datetime.now(UTC) - age)

    def add_user(self, name: str, role: Role, groups: tuple[str, ...] = ()) -> None:
        with self.web.begin() as session:
            users.create_user(session, name=name, role=role, password_hash=self.password_hash, groups=groups)

    def sign_in(self, name: str) -> str:
        """The cookie's value of a new session."""
        secret = new_secret()
        with self.web.begin() as session:
            user = users.find_user(session, name)
            assert user is not None
            start_session(session, token_hash=secret_hash(secret), user_id=user.id, lifetime=3600, address=None)
        return secret

    def make_token(self, name: str) -> str:
        """A bearer token of a user."""
        secret = new_token()
        with self.web.begin() as session:
            user = users.find_user(session, name)
            assert user is not None
            tokens.create_token(
                session,
                user_id=user.id,
                name="tests",
                prefix=secret[:8],
                token_hash=secret_hash(secret),
                expires_at=None,
            )
        return secret

    def logged(self) -> list[str]:
        """The cursors of all updates in the log, in its order."""
        with self.web() as session:
            epoch = head(session).epoch
            numbers = session.scalars(select(Event.seq).where(Event.type == TASK_UPDATE).order_by(Event.seq))
            return [f"{epoch}-{number}" for number in numbers]

    def sign_out_everywhere(self, name: str) -> None:
        with self.web.begin() as session:
            user = users.find_user(session, name)
            assert user is not None
            users.end_sessions(session, user.id)

    def add_task(self, host: str, group: str | None = None, **more: Any) -> ScheduledTask:
        """A task for a host, which is added with it."""
        with self.web.begin() as session:
            groups = [HostGroup(name=group)] if group else []
            row = Host(name=host, address=host, groups=groups)
            session.add(row)
            session.flush()
            values: dict[str, Any] = {"name": f"Scan {host}", "host": row, "scan_type": "fast"}
            return create_task(session, **(values | more))

    def queue(self, task: ScheduledTask, *, publish: bool = True) -> Run:
        with self.web.begin() as session:
            run, event = create_run(session, session.get_one(ScheduledTask, task.id), "manual", "anna")
        return self._told(run, event, publish=publish)

    def find_run(self, task: ScheduledTask) -> Run:
        """The only run of a task that somebody asked for: the page may have sent its request a moment ago."""
        return self._find_run(Run.task_id == task.id)

    def notify(self, text: str) -> str:
        """A message to everybody who sees all hosts; its cursor."""
        data = task_update_data(999, 888, "success", text, {"test": "data"}, datetime.now(UTC))
        with self.worker.begin() as session:
            event = record_event(session, TASK_UPDATE, None, data)
        return self._publish(event)

    def start(self, run: Run, *, publish: bool = True) -> Run:
        with self.worker.begin() as session:
            claim = claim_run(session, run.id, "tests", 60)
        assert claim is not None
        return self._told(claim.run, claim.event, publish=publish)

    def end(self, run: Run, status: Any, result: dict[str, Any], *, publish: bool = True) -> Run:
        with self.worker.begin() as session:
            scan_id = None if result["verdict"] == "failed" else _store_scan(session, run, result)
            event = finish_run(session, run, status, result | {"scan_id": scan_id})
        assert event is not None
        return self._told(run, event, publish=publish)

    def find_host_run(self, host_id: int, kind: str) -> Run:
        """The only run of a kind that somebody asked for a host: the page may have sent its request a moment ago."""
        return self._find_run(Run.host_id == host_id, Run.kind == kind)

    def end_check(self, run: Run, result: dict[str, Any]) -> Run:
        """A connection test ends: it worked, or with the verdict of a failure."""
        with self.worker.begin() as session:
            event = finish_run(session, run, "failed" if "verdict" in result else "success", result | {"kind": "check"})
        assert event is not None
        return self._told(run, event, publish=True)

    def scan(self, task: ScheduledTask, result: dict[str, Any], *, publish: bool = True) -> Run:
        """A run from click to end."""
        run = self.start(self.queue(task, publish=publish), publish=publish)
        return self.end(run, "failed" if result["verdict"] == "failed" else "success", result, publish=publish)

    def end_together(self, runs: Sequence[Run], results: Sequence[dict[str, Any]]) -> None:
        """All of these runs succeed in the same moment."""
        with self.worker.begin() as session:
            events = [
                finish_run(session, run, "success", result | {"scan_id": _store_scan(session, run, result)})
                for run, result in zip(runs, results, strict=True)
            ]
        self._told(runs[-1], events[-1], publish=True)

    def progress(self, run: Run, phase: str, percent: int | None) -> None:
        """A run tells how far it is."""
        with self.worker.begin() as session:
            event = note_progress(session, run, phase, percent)
        assert event is not None
        self._publish(event)

    def say(self, run: Run, *lines: str) -> None:
        """The programs of a run say something."""
        with self.worker.begin() as session:
            assert append_lines(session, run, lines)

    def change(self, run: Run, changes: list[Changed]) -> None:
        """An assessed scan of a run's host is told as different from the one before."""
        with self.worker.begin() as session:
            scan = assessed_scan(session, run.host_id)
            assert scan is not None
            event = record_changes(session, run, scan, changes)
        assert event is not None
        self._publish(event)

    def _find_run(self, *conditions: ColumnElement[bool]) -> Run:
        def found() -> Sequence[Run]:
            with self.web() as session:
                return session.scalars(select(Run).where(*conditions)).all()

        [run] = wait_until(found, what="a run that somebody asked for")
        return run

    def _told(self, run: Run, event: Event | None, *, publish: bool) -> Run:
        if publish and event is not None:
            self._publish(event)
        return run

    def _publish(self, event: Event) -> str:
        with self.web() as session:
            stored = load_event(session, event.id)
        wait_until(lambda: self.publisher.publish(stored), what="Redis, in the time that it is given")
        return str(stored.cursor)


def _store_scan(session: Session, run: Run, result: dict[str, Any]) -> int:
    scan = Scan(
        run_id=run.id,
        host_id=run.host_id,
        attempt=run.attempt,
        family="debian",
        release="12.5",
        verdict=result["verdict"],
        reason=result.get("reason"),
        demo=result.get("demo", False),
        package_count=142,
        result={},
    )
    session.add(scan)
    session.flush()
    if result["verdict"] == "assessed":
        session.add_all(_findings(scan, result))
        session.flush()
    return scan.id


def _findings(scan: Scan, result: dict[str, Any]) -> list[Finding]:
    found = [severity for severity, _ in COUNTS.items() for _ in range(result[severity])]
    scores = {"critical": 9.8, "high": 7.5, "medium": 5.3, "low": 2.9, "unknown": None}
    return [
        Finding(
            scan_id=scan.id,
            cve_id=f"CVE-2024-{1000 + number}",
            host_id=scan.host_id,
            severity=severity,
            score=scores[severity],
            title=f"A flaw in libexample{number}",
            packages=[{"name": f"libexample{number}", "fixed_in": f"1.2.{number}-1+deb12u1", "not_fixed_yet": False}],
        )
        for number, severity in enumerate(found)
    ]
