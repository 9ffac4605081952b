"""Writers of events: many at once, some in long transactions that commit late, some that roll back."""

import random
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.config import Settings
from app.db.events import load_event, record_event
from app.domain.envelope import TASK_PROGRESS, TASK_UPDATE, task_update_data
from app.utils.notification_service.publisher import Publisher
from tests.chaos.threads import Threads

STATUSES = ("queued", "started", "success", "success", "success", "failed", "cancelled")


class Writers(Threads):
    """Threads that write events until they are stopped."""

    def __init__(
        self, sessions: sessionmaker[Session], settings: Settings, hosts: tuple[int, ...], seed: str, threads: int = 5
    ) -> None:
        self.committed = 0
        self.failed = 0  # transactions that a fault ended, or may have ended
        self._sessions = sessions
        self._hosts = hosts
        self._publisher = Publisher(settings)
        super().__init__([partial(self._write, random.Random(f"{seed}-{number}"), number) for number in range(threads)])

    def _write(self, draw: random.Random, number: int) -> None:
        run = number * 1_000_000
        while not self.over.is_set():
            run += 1
            try:
                self._transaction(draw, run)
            except SQLAlchemyError:
                self.failed += 1
                time.sleep(0.2)
            self.over.wait(draw.expovariate(6))

    def _transaction(self, draw: random.Random, run: int) -> None:
        kind = draw.random()
        with self._sessions() as session:
            events = [self._record(draw, session, run)]
            if kind < 0.15:  # begins early, commits late
                time.sleep(draw.uniform(0.1, 1.5))
                events.append(self._record(draw, session, run))
            elif kind < 0.2:  # a storm
                events += [self._record(draw, session, run + more) for more in range(draw.randint(20, 80))]
            elif kind < 0.25:  # never happened
                time.sleep(draw.uniform(0, 0.3))
                session.rollback()
                return
            session.commit()
        self.committed += len(events)
        if kind < 0.9:  # the others die between commit and publishing
            with self._sessions() as session:
                self._publisher.publish(load_event(session, events[-1].id))

    def _record(self, draw: random.Random, session: Session, run: int) -> Any:
        host = draw.choice((*self._hosts, None))
        now = datetime.now(UTC)
        if draw.random() < 0.1:
            data = {"task_id": 1, "task_run_id": run, "task_name": "chaos", "phase": "scan", "percent": 50}
            return record_event(session, TASK_PROGRESS, host, data | {"timestamp": now.isoformat()[:19]})
        status = draw.choice(STATUSES)
        result: dict[str, Any] = {}
        if status == "success":
            critical = draw.choice((0, 0, 0, 2))
            counts = {"critical": critical, "high": 1, "medium": 0, "low": 0, "unknown": 0}
            result = {"verdict": "assessed", "vulnerabilities": critical + 1, **counts}
        if status == "failed":
            # Long, so that buffers fill where nobody reads.
            result = {"verdict": "failed", "reason": {"code": "chaos", "sentence": "x" * draw.choice((10, 4000))}}
        return record_event(session, TASK_UPDATE, host, task_update_data(1, run, status, "chaos", result, now))
