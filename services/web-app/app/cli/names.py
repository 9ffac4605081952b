"""Names as they are given on the command line."""

import re

import typer

from app.domain import names

ROLE_HELP = "viewer: reads; operator: also runs, cancels, schedules; admin: everything."


def check_name(name: str) -> str:
    """Return a user's name.

    Raises:
        typer.BadParameter: it has characters that the database refuses.
    """
    if not re.fullmatch(names.USER, name):
        raise typer.BadParameter("1 to 63 letters, digits, or one of . _ @ -")
    return name


def check_group(name: str) -> str:
    """Return a group's name.

    Raises:
        typer.BadParameter: it has characters that the database refuses.
    """
    if not re.fullmatch(names.GROUP, name):
        raise typer.BadParameter("1 to 63 letters, digits, or one of _ -")
    return name
