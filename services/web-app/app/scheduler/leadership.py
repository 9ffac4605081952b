"""Who of several schedulers is active: the one whose session holds an advisory lock."""

import logging
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from app.config import Settings
from app.db import timeline

logger = logging.getLogger(__name__)

_LOCK = 4714
_TRY = text("SELECT pg_try_advisory_lock(:key)")
_HELD = text(
    """
    SELECT EXISTS (
        SELECT FROM pg_locks
         WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
           AND classid = 0 AND objid = :key AND objsubid = 1
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
    """
)
_HOLDER = text(
    """
    SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
     WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = :key AND l.objsubid = 1
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
)
# Set at the server, so that it lets go of the lock within seconds when this whole host is gone.
_SESSION_SETTINGS = (
    "-c timezone=UTC -c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=10s"
    " -c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2 -c tcp_user_timeout=3000"
)


def make_leader_engine(settings: Settings) -> Engine:
    """Return an engine whose connections are closed, not kept, when given back: a lock must not outlive its use."""
    engine = create_engine(
        settings.database_url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={
            "application_name": f"vuls-scheduler {settings.instance}"[:63],
            "options": _SESSION_SETTINGS,
            "keepalives_idle": 1,
            "keepalives_interval": 1,
            "keepalives_count": 3,
            "tcp_user_timeout": 3000,
        },
    )
    timeline.watch(engine)
    return engine


class Leadership:
    """A connection of its own and the lock on it.

    The active scheduler does its work in transactions on this very connection: when the lock is lost, because the
    session is, so is the transaction, and no two schedulers can both commit a firing.
    """

    def __init__(self, settings: Settings) -> None:
        self._engine = make_leader_engine(settings)
        self._connection: Connection | None = None
        self._is_held = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._engine.dispose()

    @property
    def connection(self) -> Connection:
        """The connection that holds, or tries to get, the lock."""
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def hold(self) -> bool:
        """Make sure that this session has the lock, or try to get it; tell whether it has.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is away; call `release` and try again later.
        """
        with self.connection.begin():
            statement = _HELD if self._is_held else _TRY
            self._is_held = bool(self.connection.execute(statement, {"key": _LOCK}).scalar_one())
        return self._is_held

    def holder(self) -> str:
        """Return the name that the active scheduler's session goes by, empty where there is none."""
        with self.connection.begin():
            return self.connection.execute(_HOLDER, {"key": _LOCK}).scalar() or ""

    def release(self) -> None:
        """Close the session and with it give up the lock."""
        connection, self._connection, self._is_held = self._connection, None, False
        if connection is None:
            return
        try:
            connection.invalidate()
            connection.close()
        except SQLAlchemyError as error:
            logger.debug("Closing a connection that is gone: %s", error)
