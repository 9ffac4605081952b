"""`vulsctl db`: the schema, and which history the event log tells."""

from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.connection import explained, transaction
from app.cli.output import AsJson, answer
from app.config import get_settings
from app.db.events import begin_epoch

cli = typer.Typer(help="The database: its schema and its history.", no_args_is_help=True)

_OWNER = "give this verb the VULS_DATABASE_* settings of the schema's owner"


@cli.callback()
def _group() -> None:
    """The database: its schema and its history."""


@cli.command()
def upgrade(
    contract: Annotated[
        bool, typer.Option("--contract", help="Also take away what only older releases use: no way back to them.")
    ] = False,
) -> None:
    """Bring the schema to what this release needs, as the owner of the database. Answers in JSON.

    Without --contract the first migration that takes something away, and what follows it, is left under `waiting`.
    `ahead` says that a newer release than this one has brought the schema further; nothing was done then.
    """
    from app.db import migrate  # noqa: PLC0415  (Alembic takes a second to load, and only this verb needs it)

    with explained(if_refused=_OWNER):
        done = migrate.upgrade(get_settings(), contract=contract)
    answer(asdict(done), "", as_json=True)


@cli.command()
def new_epoch(as_json: AsJson = False) -> None:
    """Say that the event log tells another history now: run this after a backup was restored, as the database's owner.

    Numbers of events are given again after a restore. In a new epoch every client that comes with an old cursor loads
    its state anew, so that none passes over events for those of before. Nothing is deleted.
    """
    with transaction(if_refused=_OWNER) as session:
        before, epoch = begin_epoch(session)
    answer(
        {"changed": True, "before": before, "epoch": epoch},
        f"The event log is in epoch {epoch} now, after {before}. Instances that run notice within seconds; every client"
        " loads its state anew, once. Nothing was deleted.",
        as_json=as_json,
    )
