"""Names as they are given on the command line."""

import re

import typer

ROLE_HELP = "viewer: reads; operator: also runs, cancels, schedules; admin: everything."
_USER_NAME = re.compile(r"[A-Za-z0-9._@-]{1,63}", re.ASCII)
_GROUP_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)


def check_name(name: str) -> str:
    """Return a user's name.

    Raises:
        typer.BadParameter: it has characters that the database refuses.
    """
    if not _USER_NAME.fullmatch(name):
        raise typer.BadParameter("1 to 63 letters, digits, or one of . _ @ -")
    return name


def check_group(name: str) -> str:
    """Return a group's name.

    Raises:
        typer.BadParameter: it has characters that the database refuses.
    """
    if not _GROUP_NAME.fullmatch(name):
        raise typer.BadParameter("1 to 63 letters, digits, or one of _ -")
    return name
