"""`vulsctl inventory`: hosts and tasks that the deployment names."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from app.cli.connection import transaction
from app.cli.output import answer, fail
from app.db.inventory import Inventory, InventoryError, apply_inventory
from app.domain.schedule import BadScheduleError

cli = typer.Typer(help="Hosts and tasks of the deployment.", no_args_is_help=True)


@cli.callback()
def _group() -> None:
    """Hosts and tasks of the deployment."""


@cli.command()
def apply(path: Annotated[str, typer.Argument(help="A JSON file; - for standard input.")] = "-") -> None:
    """Make hosts and tasks as the file states, and leave the others alone. Answers in JSON."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        inventory = Inventory.model_validate_json(text)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"cannot read {path}: {error}", "name a readable file, or - for standard input")
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors())
        fail(f"the inventory is not as it must be: {places}", "correct it; nothing was changed")
    with transaction() as session:
        try:
            report = apply_inventory(session, inventory)
        except (InventoryError, BadScheduleError) as error:
            fail(str(error), "correct the inventory; nothing was changed")
    answer(report, json.dumps(report), as_json=True)
