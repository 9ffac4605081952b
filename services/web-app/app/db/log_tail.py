"""The event log as an instance follows it: a connection of its own, held open, with statements prepared once.

Every event passes here, so this goes past SQLAlchemy. Measured with one row: 0.3 ms of processor time a read, through a
session in a thread 1.2 ms, through an asynchronous session 2.4 ms.
"""

import asyncio
import contextlib
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from app.config import Settings
from app.db import timeline
from app.db.engine import connect_arguments
from app.db.events import HEAD, READ, read_rows
from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent

_READ = READ.format(after="%s", limit="%s").encode()
_HEAD = HEAD.encode()


class LogTail:
    """Reads the log for one task at a time. Connects when first used, and again after a failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: AsyncConnection[TupleRow] | None = None

    async def read(self, after: int, limit: int) -> tuple[str, list[StoredEvent]]:
        """Return the epoch and up to `limit` events after the sequence `after`, in commit order. Gaps are normal.

        Raises:
            psycopg.Error: PostgreSQL does not answer, or refuses.
        """
        return read_rows(await self._fetch(_READ, after, limit))

    async def head(self) -> Cursor:
        """Return the cursor of the newest committed event, kept or not (0 before the first), in the epoch of now.

        Raises:
            psycopg.Error: PostgreSQL does not answer, or refuses.
        """
        ((epoch, sequence),) = await self._fetch(_HEAD)
        return Cursor(epoch, sequence)

    async def close(self) -> None:
        """Let go of the connection, in whatever state it is."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close()

    async def _fetch(self, statement: bytes, *parameters: int) -> list[tuple[Any, ...]]:
        try:
            if self._connection is None:
                self._connection = await self._connect()
            cursor = await self._connection.execute(statement, parameters, prepare=True, binary=True)
            return await cursor.fetchall()
        except BaseException:  # also when cancelled: the answer would come to the next question
            await asyncio.shield(self.close())
            raise

    async def _connect(self) -> AsyncConnection[TupleRow]:
        connection = await AsyncConnection.connect(self._settings.database_dsn, autocommit=True, **connect_arguments())
        try:
            cursor = await connection.execute(timeline.WHERE)
            timeline.check(*await cursor.fetchone() or ("", ""))
        except BaseException:
            await asyncio.shield(connection.close())
            raise
        return connection
