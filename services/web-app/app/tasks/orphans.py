"""Looks after what dead processes of this host had: others of this host take it up again, or its scan is ended."""

import logging
import socket
from collections.abc import Sequence
from typing import Any

from celery import bootsteps
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.config import Settings, get_settings
from app.db.engine import make_engine, session_factory
from app.db.models import Run
from app.db.runs import free_host, left_behind, let_go
from app.integrations.executor_client import ExecutorClient, ExecutorUnavailable
from app.tasks.job_id import job_id
from app.tasks.owner import is_gone

logger = logging.getLogger(__name__)

_LOOK_EVERY = 2.0  # seconds, at most: a scan whose run is cancelled ends within five
_EXECUTOR_TIMEOUT = 2.0  # seconds; what did not work is tried again at the next look


def look_after_orphans(settings: Settings) -> None:
    """Let go of this host's orphans in the zone, and end the jobs of those that were ended meanwhile.

    Nothing happens while the database is away. The connection is closed again: the main process of a worker forks, and
    a fork must inherit none.
    """
    engine = make_engine(settings, compare_epoch=False)
    sessions, host = session_factory(engine), socket.gethostname()
    try:
        with sessions.begin() as session:
            freed = let_go(session, host, is_gone, settings.lease_seconds)
            left = left_behind(session, host, is_gone)
        for run_id in freed:
            logger.warning("Run %s was left by a process that is gone: it is taken up again", run_id)
        if left:
            _end_jobs(settings, sessions, left)
    except SQLAlchemyError as error:
        logger.warning("Could not look for runs of dead processes (%s), trying again", type(error).__name__)
    finally:
        engine.dispose()


def _end_jobs(settings: Settings, sessions: sessionmaker[Session], runs: Sequence[Run]) -> None:
    """Have the executor end the jobs of `runs`, and their hosts be scanned again once it did."""
    client = ExecutorClient(
        settings.executor_socket, settings.executor_api_key.get_secret_value(), timeout=_EXECUTOR_TIMEOUT
    )
    try:
        for run in runs:
            if client.end(job_id(run)):
                with sessions.begin() as session:
                    free_host(session, run)
                logger.warning("Run %s was ended while its process was gone: its scan is over", run.id)
    except ExecutorUnavailable as error:
        logger.warning("Could not end scans of dead processes (%s), trying again", error)
    finally:
        client.close()


class OrphanWatch(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Looks when the worker is connected, also when it is again, and every other second.

    In the main process and in its event loop's thread, which is the one that forks.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:  # noqa: ANN401  (Celery's own)
        super().__init__(consumer, **options)
        self._entry: Any = None

    def start(self, consumer: Any) -> None:  # noqa: ANN401
        """Look, and go on looking."""
        settings = get_settings()
        look_after_orphans(settings)
        every = min(settings.heartbeat_seconds / 2, _LOOK_EVERY)
        self._entry = consumer.timer.call_repeatedly(every, look_after_orphans, (settings,))

    def stop(self, consumer: Any) -> None:  # noqa: ANN401, ARG002
        """Look no longer."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None
