"""`vulsctl db`: the schema."""

import typer

from app.cli.connection import explained
from app.cli.output import answer
from app.config import get_settings

cli = typer.Typer(help="The database's schema.", no_args_is_help=True)


@cli.callback()
def _group() -> None:
    """The database's schema."""


@cli.command()
def upgrade() -> None:
    """Bring the schema to what this release needs, as the owner of the database. Answers in JSON."""
    from app.db import migrate  # noqa: PLC0415  (Alembic takes a second to load, and only this verb needs it)

    with explained(if_refused="give this verb the VULS_DATABASE_* settings of the schema's owner"):
        changed = migrate.upgrade(get_settings())
    answer({"changed": changed, "revision": migrate.head_revision()}, "", as_json=True)
