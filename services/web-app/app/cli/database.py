"""`vulsctl db`: the schema."""

import typer
from sqlalchemy.exc import OperationalError

from app.cli.connection import first_line
from app.cli.output import answer, fail
from app.config import get_settings

cli = typer.Typer(help="The database's schema.", no_args_is_help=True)


@cli.callback()
def _group() -> None:
    """The database's schema."""


@cli.command()
def upgrade() -> None:
    """Bring the schema to what this release needs, as the owner of the database. Answers in JSON."""
    from app.db import migrate  # noqa: PLC0415  (Alembic takes a second to load, and only this verb needs it)

    settings = get_settings()
    try:
        changed = migrate.upgrade(settings)
    except OperationalError as error:
        fail(
            f"the database {settings.database_name} on {settings.database_host} does not answer: {first_line(error)}",
            "this verb needs the VULS_DATABASE_* settings of the owner, and a running server",
        )
    answer({"changed": changed, "revision": migrate.head_revision()}, "", as_json=True)
