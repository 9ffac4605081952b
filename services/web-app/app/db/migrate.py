"""Brings the schema up to the release's: `vulsctl db upgrade`."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.db.engine import make_engine
from app.db.outage import Trouble, trouble

logger = logging.getLogger(__name__)

EXPAND, CONTRACT = KINDS = ("expand", "contract")
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


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade did. `waiting` are the contract migrations (and what follows them) that it left for later.

    `ahead`: the database was brought further by a newer release than this one, so there was nothing to do.
    """

    changed: bool
    revision: str
    waiting: tuple[str, ...] = ()
    ahead: bool = False


def kind_of(script: Script) -> str:
    """Return `expand` or `contract`, as a migration says of itself.

    The release before goes on well after one that expands: nothing that it uses is gone or means something else. One
    that contracts takes away what only older releases use.

    Raises:
        RuntimeError: it says neither.
    """
    kind = getattr(script.module, "kind", None)
    if kind not in KINDS:
        raise RuntimeError(f"migration {script.revision} does not say whether it is {' or '.join(KINDS)}")
    return str(kind)


def plan(current: str | None, *, contract: bool) -> tuple[list[str], list[str]]:
    """Return which revisions to apply now behind `current`, and which wait, both in order.

    Without `contract` everything from the first migration that contracts waits. A database without tables has no older
    release that could miss anything.
    """
    scripts = ScriptDirectory.from_config(alembic_config())
    missing = [script for script in scripts.iterate_revisions("head", current or "base") if script.revision != current]
    missing.reverse()
    until = len(missing)
    if current is not None and not contract:
        kinds = [kind_of(script) for script in missing]
        until = kinds.index(CONTRACT) if CONTRACT in kinds else until
    names = [script.revision for script in missing]
    return names[:until], names[until:]


def upgrade(settings: Settings, *, contract: bool = False) -> Upgrade:
    """Apply the missing migrations, each in a transaction of its own; from the first that contracts on with `contract`.

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
            current = current_revision(connection)
            connection.commit()
            if current is not None and not _is_known(current):
                return Upgrade(changed=False, revision=current, ahead=True)
            now, later = plan(current, contract=contract)
            if now:
                config = alembic_config()
                config.attributes["connection"] = connection
                _apply(config, connection, now[-1])
            return Upgrade(changed=bool(now), revision=now[-1] if now else str(current), waiting=tuple(later))
    finally:
        engine.dispose()


def _take_turns(connection: Connection) -> None:
    """Wait for the upgrade of another host, without a transaction that its migrations might wait for in turn."""
    mine = text("SELECT pg_try_advisory_lock(:key)")
    while not connection.execute(mine, {"key": _MIGRATION_LOCK}).scalar_one():
        connection.rollback()
        time.sleep(_TURN)
    connection.commit()


def _apply(config: Config, connection: Connection, until: str) -> None:
    ends_at = time.monotonic() + _PATIENCE
    while True:
        try:
            command.upgrade(config, until)
        except DBAPIError as error:
            connection.rollback()
            if trouble(error) is not Trouble.BUSY or time.monotonic() > ends_at:
                raise
            logger.warning("Something holds a table that a migration has to change; trying again in %g s", _PAUSE)
            time.sleep(_PAUSE)
        else:
            connection.commit()
            return


def _is_known(revision: str) -> bool:
    try:
        return ScriptDirectory.from_config(alembic_config()).get_revision(revision) is not None
    except CommandError:
        return False
