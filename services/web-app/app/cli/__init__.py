"""`vulsctl`: the operator's command line on web and scan hosts.

Answers go to standard output, everything else to standard error. Verbs that deployments use (`ensure`, `apply`,
`upgrade`) always answer in JSON with `changed`; the others do with `--json`. Exit status: 0 done, 1 refused or failed,
2 wrong usage.
"""

import sys

import typer
from pydantic import ValidationError

from app.cli import database, drain, groups, inventory, notify, runs, status, tokens, users, watch
from app.cli.output import fail
from app.log import configure_logging

cli = typer.Typer(name="vulsctl", help="Operate Vuls Live.", no_args_is_help=True, pretty_exceptions_enable=False)
cli.add_typer(users.cli, name="user")
cli.add_typer(groups.cli, name="group")
cli.add_typer(tokens.cli, name="token")
cli.add_typer(runs.cli, name="run")
cli.add_typer(inventory.cli, name="inventory")
cli.add_typer(database.cli, name="db")
cli.command("status")(status.status)
cli.command("drain")(drain.drain)
cli.command("notify")(notify.notify)
cli.command("watch")(watch.watch)


def main() -> None:
    """Run the command line."""
    configure_logging("WARNING")
    try:
        cli()
    except ValidationError as error:
        names = ", ".join(f"VULS_{str(item['loc'][0]).upper()}" for item in error.errors() if item["loc"])
        fail(f"the settings are not as they must be: {names}", "correct them; services read /etc/vuls/*/settings.env")
    except KeyboardInterrupt:
        sys.exit(130)
