"""Lets go of the runs that dead processes of this host had, so that others of this host take them up again."""

import logging
import socket
from typing import Any

from celery import bootsteps
from sqlalchemy.exc import SQLAlchemyError

from app.config import Settings, get_settings
from app.db.engine import make_engine, session_factory
from app.db.runs import let_go
from app.tasks.owner import is_gone

logger = logging.getLogger(__name__)


def let_go_of_orphans(settings: Settings) -> list[int]:
    """Let go of this host's orphans in the zone and return their ids; none while the database is away.

    The connection is closed again: the main process of a worker forks, and a fork must inherit none.
    """
    engine = make_engine(settings, compare_epoch=False)
    try:
        with session_factory(engine).begin() as session:
            run_ids = let_go(session, socket.gethostname(), is_gone, settings.lease_seconds)
    except SQLAlchemyError as error:
        logger.warning("Could not look for runs of dead processes (%s), trying again", type(error).__name__)
        return []
    finally:
        engine.dispose()
    for run_id in run_ids:
        logger.warning("Run %s was left by a process that is gone: it is taken up again", run_id)
    return run_ids


class OrphanWatch(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Looks when the worker starts, when it is connected again, and twice in a heartbeat.

    In the main process and in its event loop's thread, which is the one that forks.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:  # noqa: ANN401  (Celery's own)
        super().__init__(consumer, **options)
        self._entry: Any = None

    def start(self, consumer: Any) -> None:  # noqa: ANN401
        """Look, and go on looking."""
        settings = get_settings()
        let_go_of_orphans(settings)
        self._entry = consumer.timer.call_repeatedly(settings.heartbeat_seconds / 2, let_go_of_orphans, (settings,))

    def stop(self, consumer: Any) -> None:  # noqa: ANN401, ARG002
        """Look no longer."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None
