"""`vulsctl group`: host groups, what users are given rights for."""

from typing import Annotated

import typer

from app.cli.connection import transaction
from app.cli.names import check_group, check_name
from app.cli.output import AsJson, answer, fail, table
from app.db import users
from app.db.groups import UnknownGroupError, ensure_group, groups_by_name, list_groups

cli = typer.Typer(help="Host groups: what users are given rights for.", no_args_is_help=True)

Group = Annotated[str, typer.Argument(callback=check_group, help="The group's name.")]
UserName = Annotated[str, typer.Argument(callback=check_name, help="The user's name.")]


@cli.command()
def add(group: Group, as_json: AsJson = False) -> None:
    """Add a group."""
    with transaction() as session:
        if not ensure_group(session, group):
            fail(f"there is a group called {group} already", "choose another name")
    answer({"changed": True}, f"Added group {group}.", as_json=as_json)


@cli.command()
def ensure(group: Group) -> None:
    """Make sure that a group exists. Answers in JSON."""
    with transaction() as session:
        changed = ensure_group(session, group)
    answer({"changed": changed}, "", as_json=True)


@cli.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the groups with the number of their hosts."""
    with transaction() as session:
        rows = [{"id": group.id, "name": group.name, "hosts": hosts} for group, hosts in list_groups(session)]
    table(rows, ("id", "name", "hosts"), as_json=as_json)


@cli.command()
def grant(group: Group, user: UserName, as_json: AsJson = False) -> None:
    """Give a user its role's rights on the hosts of a group."""
    _set(group, user, member=True, as_json=as_json)


@cli.command()
def revoke(group: Group, user: UserName, as_json: AsJson = False) -> None:
    """Take them away; open connections follow within seconds."""
    _set(group, user, member=False, as_json=as_json)


def _set(group: str, user_name: str, *, member: bool, as_json: bool) -> None:
    with transaction() as session:
        user = users.find_user(session, user_name)
        if user is None:
            fail(f"there is no user called {user_name}", "`vulsctl user list` shows all users")
        try:
            (row,) = groups_by_name(session, [group])
        except UnknownGroupError as error:
            fail(str(error), "`vulsctl group list` shows the groups")
        changed = (row in user.groups) != member
        if changed and member:
            user.groups.append(row)
        elif changed:
            user.groups.remove(row)
    verb = "has" if member else "has no"
    answer({"changed": changed}, f"{user_name} {verb} rights on the hosts of {group}.", as_json=as_json)
