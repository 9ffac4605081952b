"""The scheduler's side towards Redis, in a thread of its own: a Redis that hangs never holds up a due time."""

import logging
import queue
import threading
import time
from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.config import Settings
from app.db.events import load_event
from app.db.models import Run
from app.db.runs import forget_sent, jobs_to_send, mark_sent, mark_unsent
from app.domain.room import Limits
from app.tasks.celery_app import SCAN_TASK, scan_queue
from app.utils.notification_service.publisher import Publisher
from app.utils.redis_client import explain, make_redis

logger = logging.getLogger(__name__)

_WATCH_TIMEOUT = 1.0
_GREATEST_RESEND_DELAY = 300.0
_EVENTS_WAITING = 10_000
_PAUSE = 1.0  # seconds before going on after an error


class RedisWatch:
    """One connection to Redis that is never silently replaced: when it breaks, Redis may have lost its jobs."""

    def __init__(self, settings: Settings) -> None:
        # redis-py types only part of what a connection can do.
        self._connection: Any = make_redis(settings, timeout=_WATCH_TIMEOUT).connection_pool.make_connection()
        self._is_connected = False

    def look(self) -> tuple[bool, bool]:
        """Return whether Redis answers, and whether it is newly there (after a break, or for the first time)."""
        was_connected = self._is_connected
        try:
            if not was_connected:
                self._connection.connect()
            self._connection.send_command("PING", check_health=False)
            self._connection.read_response()
        except (RedisError, OSError) as error:
            self._is_connected = False
            self._connection.disconnect()
            if was_connected:
                logger.warning("Redis is away (%s): jobs wait in the database", explain(error))
            return False, False
        self._is_connected = True
        return True, not was_connected

    def close(self) -> None:
        """Close the connection."""
        self._is_connected = False
        self._connection.disconnect()


class Dispatcher:
    """Publishes events and sends the jobs of queued runs, while it is switched on."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session], celery: Celery) -> None:
        self._settings = settings
        self._sessions = sessions
        self._celery = celery
        self._limits = Limits(settings.zone_limits, settings.hypervisor_group_limit)
        self._publisher = Publisher(settings)
        self._watch = RedisWatch(settings)
        self._events: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._work = threading.Event()
        self._active = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Start the thread; it does nothing until it is switched on."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after what it is doing."""
        self._stop.set()
        self._work.set()
        self._thread.join(timeout=10)
        self._watch.close()

    def switch(self, *, on: bool) -> None:
        """Begin or cease to send: only the active scheduler does."""
        if on:
            self._active.set()
        else:
            self._active.clear()

    def tell(self, event_pks: Iterable[int]) -> None:
        """Publish committed events soon. When too many wait, the rest is left for readers to find in the log."""
        for event_pk in event_pks:
            if self._events.qsize() < _EVENTS_WAITING:
                self._events.put(event_pk)
        self._work.set()

    def _loop(self) -> None:
        while not self._stop.is_set():
            self._work.wait(self._settings.scheduler_tick)
            self._work.clear()
            if not self._active.is_set():
                self._watch.close()  # whoever becomes active sends all queued jobs again
                continue
            try:
                self._dispatch()
            except SQLAlchemyError as error:
                logger.warning("The database is away (%s): no jobs are sent", type(error).__name__)
                self._stop.wait(_PAUSE)
            except Exception:
                # Without this thread the scheduler would stay active and never send a job again.
                logger.exception("Sending jobs failed in a way that nobody foresaw; going on")
                self._stop.wait(_PAUSE)

    def _dispatch(self) -> None:
        answers, newly = self._watch.look()
        if newly:
            self._forget_sent()
        self._publish(answers)
        if answers:
            self._send_jobs()

    def _publish(self, answers: bool) -> None:
        """Publish what waits, or leave it for readers to find in the log where Redis does not answer."""
        while not self._stop.is_set():
            try:
                event_pk = self._events.get_nowait()
            except queue.Empty:
                return
            if not answers:
                logger.warning("Event %s stays unpublished: Redis is away", event_pk)
                continue
            with self._sessions() as session:
                stored = load_event(session, event_pk)
            self._publisher.publish(stored)

    def _forget_sent(self) -> None:
        with self._sessions.begin() as session:
            count = forget_sent(session)
        logger.info("Redis is there; %s unclaimed jobs are sent again", count)

    def _send_jobs(self) -> None:
        with self._sessions() as session:
            runs = jobs_to_send(session, self._settings.resend_after, _GREATEST_RESEND_DELAY, self._limits)
        for run in runs:
            if not self._mark_and_send(run):
                return

    def _mark_and_send(self, run: Run) -> bool:
        """Mark first: a worker may give the job back before this thread goes on."""
        with self._sessions.begin() as session:
            mark_sent(session, run.id)
        is_sent = False
        try:
            is_sent = self._send(run)
        finally:
            if not is_sent:
                with self._sessions.begin() as session:
                    mark_unsent(session, run.id)
        return is_sent

    def _send(self, run: Run) -> bool:
        started = time.monotonic()
        try:
            self._celery.send_task(
                SCAN_TASK,
                kwargs={"host_id": run.host_id, "scan_type": run.scan_type, "task_run_id": run.id},
                queue=scan_queue(run.zone),
                retry=False,
            )
        except (BrokerError, RedisError, OSError) as error:
            logger.warning(
                "The job of run %s stays in the database (%s after %.1f s)", run.id, error, time.monotonic() - started
            )
            return False
        logger.info("Sent the job of run %s to zone %s (time %s)", run.id, run.zone, run.sent_count + 1)
        return True
