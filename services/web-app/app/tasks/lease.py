"""Keeps a claimed run's lease alive while the scan runs."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.db.models import Run
from app.db.runs import is_held, renew_lease

logger = logging.getLogger(__name__)

_LOOK_EVERY = 1.0  # seconds after which a run that was cancelled is noticed, however rare the renewals are


class LeaseKeeper:
    """A thread that renews the lease of `run` every `interval` seconds, from entry to exit, and looks more often.

    `lost` is set once the run is not this worker's any more: it was cancelled, or it was given away while the worker
    was silent. A database that is away is no loss: the thread tries again.
    """

    def __init__(self, sessions: sessionmaker[Session], run: Run, lease_seconds: float, interval: float) -> None:
        self.lost = threading.Event()
        self._sessions = sessions
        self._run = run
        self._lease_seconds = lease_seconds
        self._interval = interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{run.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _keep(self) -> None:
        renew_at = time.monotonic() + self._interval
        while not self._done.wait(min(self._interval, _LOOK_EVERY)):
            due = time.monotonic() >= renew_at
            try:
                with self._sessions.begin() as session:
                    held = renew_lease(session, self._run, self._lease_seconds) if due else is_held(session, self._run)
            except SQLAlchemyError as error:
                logger.warning("Could not renew the lease of run %s (%s), trying again", self._run.id, error)
                continue
            if due:
                renew_at = time.monotonic() + self._interval
            if not held and not self._done.is_set():
                self.lost.set()
                logger.warning("Run %s was ended or given away while it was scanned", self._run.id)
                return
