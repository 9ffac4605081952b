"""Brings the schema up to the release's: `vulsctl db upgrade`."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.config import Settings
from app.db.engine import make_engine

_MIGRATION_LOCK = 4712  # two hosts that upgrade at once take turns


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
    """Apply all missing migrations in one transaction and tell whether there were any.

    `settings` must name the owner of the schema; other roles may not change it.
    """
    engine = make_engine(settings, compare_epoch=False)
    try:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            before = current_revision(connection)
            if before == head_revision():
                return False
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return True
    finally:
        engine.dispose()
