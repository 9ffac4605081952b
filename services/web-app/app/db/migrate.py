"""Brings the schema up to the release's: `vulsctl db upgrade`."""

import logging
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.db.engine import make_engine
from app.db.outage import Trouble, trouble

logger = logging.getLogger(__name__)

_MIGRATION_LOCK = 4712  # two hosts that upgrade at once take turns
_LOCK_TIMEOUT = 3000  # milliseconds that everybody may have to wait behind a migration that waits itself
_TURN = 0.5  # seconds between looks whether another host is done
_PAUSE = 2.0  # seconds for everybody else before it asks again
_PATIENCE = 600.0  # seconds; a backup holds its locks for long


def alembic_config() -> Config:
    """Return where the migrations are; `attributes["connection"]` is what they are applied over."""
    packaged = Path(__file__).parent / "migrations"
    checkout = Path(__file__).parents[2] / "migrations"
    config = Config()
    location = packaged if packaged.is_dir() else checkout
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    return config


def head_revision() -> str:
    """Return the schema revision that this release's code is written for."""
    revision = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if revision is None:
        raise RuntimeError("this release carries no migrations")
    return revision


def current_revision(connection: Connection) -> str | None:
    """Return the database's revision, None when it has no tables yet."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(settings: Settings) -> bool:
    """Apply all missing migrations, each in a transaction of its own, and tell whether there were any.

    Statements may take as long as they need, but none waits long for a lock: whatever else wants the table waits behind
    it. A migration that gets none is tried again. `settings` must name the owner of the schema; other roles may not
    change it.

    Raises:
        sqlalchemy.exc.OperationalError: a table was locked for all of `_PATIENCE`. What was applied stays; the next
        upgrade goes on from there.
    """
    engine = make_engine(settings, compare_epoch=False)
    try:
        with engine.connect() as connection:
            # Of the session, which ends with this: the lock lasts through all transactions.
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text(f"SET lock_timeout = {_LOCK_TIMEOUT}"))
            connection.commit()
            _take_turns(connection)
            before = current_revision(connection)
            connection.commit()
            if before == head_revision():
                return False
            config = alembic_config()
            config.attributes["connection"] = connection
            _apply(config, connection)
            return True
    finally:
        engine.dispose()


def _take_turns(connection: Connection) -> None:
    """Wait for the upgrade of another host, without a transaction that its migrations might wait for in turn."""
    mine = text("SELECT pg_try_advisory_lock(:key)")
    while not connection.execute(mine, {"key": _MIGRATION_LOCK}).scalar_one():
        connection.rollback()
        time.sleep(_TURN)
    connection.commit()


def _apply(config: Config, connection: Connection) -> None:
    ends_at = time.monotonic() + _PATIENCE
    while True:
        try:
            command.upgrade(config, "head")
        except DBAPIError as error:
            connection.rollback()
            if trouble(error) is not Trouble.BUSY or time.monotonic() > ends_at:
                raise
            logger.warning("Something holds a table that a migration has to change; trying again in %g s", _PAUSE)
            time.sleep(_PAUSE)
        else:
            connection.commit()
            return
