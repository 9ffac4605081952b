"""Keeps this process away from a server that history has left behind.

After a promotion the new primary is on a later timeline. The old one may come back and, until it is fenced, accept
writes; with several hosts in `database_host` it may well be the first that answers. A process that has been on the
later timeline does not take it.
"""

import threading
from typing import Any

import psycopg
from sqlalchemy import Engine, event

WHERE = "SELECT system_identifier::text, pg_walfile_name(pg_current_wal_lsn()) FROM pg_control_system()"
_lock = threading.Lock()
_latest: dict[str, int] = {}  # cluster: the latest timeline that this process has been on


class StaleServerError(psycopg.OperationalError):
    """The server takes writes, but another one has been promoted since; its writes would be lost."""


def check(cluster: str, wal_file: str) -> None:
    """Remember the timeline of a server that takes writes.

    `cluster` is its system identifier, `wal_file` the name of the WAL file that it writes: timeline first, in hex.

    Raises:
        StaleServerError: this process has been on a later timeline of the same cluster.
    """
    timeline = int(wal_file[:8], 16)
    with _lock:
        latest = _latest.get(cluster, 0)
        if timeline >= latest:
            _latest[cluster] = timeline
            return
    raise StaleServerError(
        f"the server is on timeline {timeline}, and timeline {latest} has begun on another one: it is an old primary"
        " that came back. Nothing is written to it. Make it a replica: playbooks/promote_database.yml"
    )


def forget() -> None:
    """Forget what this process has seen: for tests."""
    with _lock:
        _latest.clear()


def watch(engine: Engine) -> None:
    """Check each new connection of an engine; the pool closes one that leads to a server left behind."""
    event.listen(engine, "connect", _compare)


def _compare(dbapi_connection: Any, _record: object) -> None:  # noqa: ANN401  (the driver's own, or its async twin)
    cursor = dbapi_connection.cursor()
    cursor.execute(WHERE)
    cluster, wal_file = cursor.fetchone()
    cursor.close()
    dbapi_connection.commit()
    check(cluster, wal_file)
