"""Tells how far a scan is while it runs."""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.db.models import Event, Run
from app.db.progress import note_progress
from app.domain.progress import MAX_PHASE, Course
from app.integrations.executor_client import Job

logger = logging.getLogger(__name__)

_INTERVAL = 0.5  # seconds between two events of a run, at least
_PATIENCE = 5.0  # seconds that the end of a scan waits for what is being told


class ProgressTeller:
    """A thread that writes down and publishes what `look` has seen, from entry to exit.

    The scan never waits for it: with the database away progress is dropped, and so is what a later look replaced.
    `tell` publishes a committed event.
    """

    def __init__(
        self, sessions: sessionmaker[Session], run: Run, course: Course, tell: Callable[[Event], None]
    ) -> None:
        self._sessions = sessions
        self._run = run
        self._course = course
        self._tell = tell
        self._told = (run.phase, run.percent)
        self._seen: tuple[str, int | None] | None = None
        self._ours = True
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"progress-{run.id}", daemon=True)

    def look(self, job: Job) -> None:
        """Note what the executor says of the job. Never waits."""
        phase = self._course.phase if job.has_ended else job.phase
        if not phase or len(phase) > MAX_PHASE:
            return
        self._course.look(phase, time.monotonic())
        self._seen = (phase, self._course.percent)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(_PATIENCE)

    def _keep(self) -> None:
        while self._ours and not self._done.wait(_INTERVAL):
            try:
                self._step()
            except SQLAlchemyError as error:
                logger.warning("Progress of run %s is dropped (%s)", self._run.id, type(error).__name__)
            except Exception:
                logger.exception("Progress of run %s cannot be told", self._run.id)
                return

    def _step(self) -> None:
        seen = self._seen
        if seen is None or seen == self._told:
            return
        with self._sessions.begin() as session:
            event = note_progress(session, self._run, *seen)
        if event is None:
            self._ours = False
            return
        self._told = seen
        self._tell(event)
