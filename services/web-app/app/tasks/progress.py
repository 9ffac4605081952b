"""Tells how far a scan is while it runs, and what its programs say."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.db.models import Event, Run
from app.db.progress import note_progress
from app.db.run_log import append_lines, last_lines
from app.domain.progress import MAX_PHASE, Course
from app.domain.run_log import KEPT, mask_lines, new_lines
from app.integrations.executor_client import Job

logger = logging.getLogger(__name__)

_INTERVAL = 0.5  # seconds between two events of a run, at least
_STEP = 5  # percent: an event is a row that is kept for weeks
_PATIENCE = 5.0  # seconds that the end of a scan waits for what is being told


class ProgressTeller:
    """A thread that writes down and publishes what `look` has seen, from entry to exit.

    The scan never waits for it: with the database away progress is dropped, and so is what a later look replaced.
    `tell` publishes a committed event; `secrets` are kept out of the log.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        run: Run,
        course: Course,
        tell: Callable[[Event], None],
        secrets: Collection[str],
    ) -> None:
        self._sessions = sessions
        self._run = run
        self._course = course
        self._tell = tell
        self._told: tuple[str | None, int | None] = (run.phase, run.percent)
        self._seen: tuple[str, int | None] | None = None
        self._secrets = secrets
        self._window: list[str] = []
        self._written: list[str] = []  # the window that was written last
        self._known: list[str] | None = None  # the last lines of the log; None before they were asked for
        self._ours = True
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"progress-{run.id}", daemon=True)

    def look(self, job: Job) -> None:
        """Note what the executor says of the job. Never waits."""
        self._window = job.log
        phase = self._course.phase if job.has_ended else job.phase
        if not phase or len(phase) > MAX_PHASE:
            return
        self._course.look(phase, time.monotonic())
        percent = self._course.percent
        if self._told[0] == phase and percent is not None and percent < (self._told[1] or 0) + _STEP:
            return
        self._seen = (phase, percent)

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
            self._try_step()
        if self._ours:
            self._seen = None  # the end of the run is told at once; only what was said last is missing
            self._try_step()

    def _try_step(self) -> None:
        try:
            self._step()
        except SQLAlchemyError as error:
            logger.warning("Progress of run %s is dropped (%s)", self._run.id, type(error).__name__)
            self._known = None  # it may have been committed for all that
        except Exception:
            logger.exception("Progress of run %s cannot be told", self._run.id)
            self._ours = False

    def _step(self) -> None:
        seen = None if self._seen == self._told else self._seen
        window = self._window[-KEPT:]
        if seen is None and window == self._written:
            return
        masked, event = mask_lines(window, self._secrets), None
        with self._sessions.begin() as session:
            known = last_lines(session, self._run, KEPT) if self._known is None else self._known
            lines = new_lines(known, masked)
            if lines:
                self._ours = append_lines(session, self._run, lines)
            if seen is not None and self._ours:
                event = note_progress(session, self._run, *seen)
                self._ours = event is not None
        self._known, self._written = [*known, *lines][-KEPT:], window
        if seen is not None and event is not None:
            self._told = seen
            self._tell(event)
