"""Tells how this scan host is: its executor, and the vulnerability database on it."""

import logging
import socket
import threading
from datetime import UTC, datetime, timedelta

from celery import signals
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.config import Settings, get_settings
from app.db import timeline
from app.db.engine import connect_arguments
from app.db.scan_hosts import ExecutorState, note_scan_host
from app.integrations.executor_client import ExecutorClient

logger = logging.getLogger(__name__)

_EVERY = 60.0  # seconds


class ScanHostTeller:
    """A thread of the worker's main process that writes down every minute how this scan host is.

    It keeps no connection: the processes that scan are forked from this one, and would share it.
    """

    def __init__(self, settings: Settings, every: float = _EVERY) -> None:
        self._settings = settings
        self._every = every
        self._engine = create_engine(
            settings.database_url, poolclass=NullPool, hide_parameters=True, connect_args=connect_arguments()
        )
        timeline.watch(self._engine)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="scan-host", daemon=True)

    def start(self) -> None:
        """Begin; the first word is written at once."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what is being written."""
        self._stop.set()
        self._thread.join(self._settings.heartbeat_seconds)

    def tell(self) -> None:
        """Write down how this host is now."""
        settings = self._settings
        client = ExecutorClient(settings.executor_socket, settings.executor_api_key.get_secret_value())
        try:
            health = client.health()
        finally:
            client.close()
        database = None if health is None else health.database_info
        state: ExecutorState = "unreachable" if health is None else health.status
        if state == "ok" and database is not None and self._is_outdated(database.modified_at):
            state = "degraded"
        with Session(self._engine) as session, session.begin():
            note_scan_host(
                session,
                settings.zone,
                socket.gethostname(),
                state,
                None if database is None else database.digest,
                None if database is None else database.modified_at,
            )

    def _is_outdated(self, modified_at: datetime) -> bool:
        days = self._settings.vulnerability_database_max_age
        return days > 0 and datetime.now(UTC) - modified_at > timedelta(days=days)

    def _keep(self) -> None:
        while True:
            try:
                self.tell()
            except SQLAlchemyError as error:
                logger.warning("How this scan host is could not be written down (%s)", type(error).__name__)
            except Exception:
                logger.exception("How this scan host is cannot be told; trying again in %g s", self._every)
            if self._stop.wait(self._every):
                return


def _begin(**_: object) -> None:
    teller = ScanHostTeller(get_settings())
    signals.worker_shutting_down.connect(lambda **_: teller.stop(), weak=False)
    teller.start()


signals.worker_ready.connect(_begin, weak=False)
