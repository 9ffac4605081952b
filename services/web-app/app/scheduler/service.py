"""The scheduler's loop: be the active one, or stand by for it."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from celery import Celery
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.engine import make_engine, session_factory
from app.db.events import maintain
from app.db.models import Event
from app.db.scan_retention import delete_old_scans
from app.domain.backoff import delays
from app.scheduler.dispatcher import Dispatcher
from app.scheduler.leadership import Leadership
from app.scheduler.work import clean_up, database_now, end_silent_runs, fire_due_tasks

logger = logging.getLogger(__name__)

Clock = Callable[[Session], datetime]
_CLEAN_UP_EVERY = 600.0  # seconds
# Scans are megabytes with hundreds of findings each. A backlog is worked off without holding up what is due.
_SCANS_AT_ONCE = 50
_SCANS_AGAIN_AFTER = 10.0  # seconds, while there are more


class Scheduler:
    """One of several; `clock` is the database's unless a test says otherwise."""

    def __init__(self, settings: Settings, celery: Celery, clock: Clock = database_now) -> None:
        self._settings = settings
        self._clock = clock
        self._leadership = Leadership(settings)
        self._engine = make_engine(settings)
        self._dispatcher = Dispatcher(settings, session_factory(self._engine), celery)
        self._active_since: float | None = None
        self._seen_holder: str | None = None
        self._clean_up_at = 0.0
        self._delete_scans_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then hand over at once by giving up the lock."""
        self._dispatcher.start()
        try:
            with self._leadership:
                self._loop(stop)
        finally:
            self._dispatcher.stop()
            self._engine.dispose()

    def _loop(self, stop: threading.Event) -> None:
        retry = delays(0.5, 5.0)
        while not stop.is_set():
            try:
                self._step()
            except SQLAlchemyError as error:
                self._step_down(f"the database is away ({type(error).__name__})", logging.WARNING)
                stop.wait(next(retry))
            else:
                retry = delays(0.5, 5.0)
                stop.wait(self._settings.scheduler_tick)
        self._step_down("stopping")

    def _step(self) -> None:
        if not self._leadership.hold():
            self._stand_by()
            return
        if self._active_since is None:
            self._active_since = time.monotonic()
            self._seen_holder = None
            self._dispatcher.switch(on=True)
            logger.info("Scheduler %s is active", self._settings.instance)
        self._tick(self._active_since)

    def _stand_by(self) -> None:
        if self._active_since is not None:
            self._step_down("the lock is lost")
            return
        holder = self._leadership.holder()
        if holder and holder != self._seen_holder:
            self._seen_holder = holder
            logger.info("Scheduler %s stands by; active is %s", self._settings.instance, holder)

    def _step_down(self, why: str, level: int = logging.INFO) -> None:
        if self._active_since is not None or self._seen_holder is not None:
            logger.log(level, "Scheduler %s is out of service: %s", self._settings.instance, why)
        self._active_since = None
        self._seen_holder = None
        self._dispatcher.switch(on=False)
        self._leadership.release()

    def _tick(self, active_since: float) -> None:
        settings = self._settings
        grace = timedelta(seconds=settings.misfire_grace)
        self._commit(lambda session: fire_due_tasks(session, self._clock(session), grace))
        # After an outage of the database the workers get one lease's time to be heard again.
        if time.monotonic() - active_since > settings.lease_seconds:
            self._commit(end_silent_runs)
        if time.monotonic() >= self._clean_up_at:
            self._clean_up_at = time.monotonic() + _CLEAN_UP_EVERY
            self._clean_up()
        if time.monotonic() >= self._delete_scans_at:
            self._delete_scans_at = time.monotonic() + _CLEAN_UP_EVERY
            if self._delete_scans() == _SCANS_AT_ONCE:
                self._delete_scans_at = time.monotonic() + _SCANS_AGAIN_AFTER

    def _delete_scans(self) -> int:
        """Delete some of the scans that are old and replaced; return how many. It can wait, as with `_clean_up`."""
        days = self._settings.scan_retention_days
        try:
            with Session(self._leadership.connection) as session, session.begin():
                deleted = delete_old_scans(session, days, _SCANS_AT_ONCE)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            logger.exception("Could not delete old scans; trying again in %g s", _CLEAN_UP_EVERY)
            return 0
        if deleted:
            logger.info("Deleted %d scans that are older than %d days and replaced by newer ones", deleted, days)
        return deleted

    def _clean_up(self) -> None:
        """Remove what is over. It can wait: a failure that leaves the connection whole stops no schedule."""
        days, log_days = self._settings.event_retention_days, self._settings.run_log_retention_days
        try:
            with Session(self._leadership.connection) as session, session.begin():
                clean_up(session, self._settings.login_window, log_days)
                dropped = maintain(session, days)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            logger.exception("Could not remove what is over; trying again in %g s", _CLEAN_UP_EVERY)
        else:
            if dropped is None:
                logger.warning(
                    "Could not lock the event log to make and drop weeks: something reads it for long (a dump?); trying"
                    " again in %g s",
                    _CLEAN_UP_EVERY,
                )
            elif dropped:
                logger.info("Dropped %d weeks of events that are older than %d days", dropped, days)

    def _commit(self, work: Callable[[Session], list[Event]]) -> None:
        """Do `work` in a transaction on the connection that holds the lock, and have its events published."""
        with Session(self._leadership.connection) as session:
            event_pks = [event.id for event in work(session)]
            session.commit()
        self._dispatcher.tell(event_pks)
