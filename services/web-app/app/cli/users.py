"""`vulsctl user`: who may sign in."""

from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from app.cli.connection import transaction
from app.cli.names import ROLE_HELP, check_name
from app.cli.output import AsJson, answer, fail, read_secret, table
from app.db import models, users
from app.db.groups import UnknownGroupError, groups_by_name
from app.domain.permissions import Role
from app.utils.passwords import WeakPasswordError, hash_password

cli = typer.Typer(help="Users: who may sign in, with which role, for which host groups.", no_args_is_help=True)

PasswordFile = Annotated[
    str | None, typer.Option(help="File whose first line is the password; - for standard input.", show_default=False)
]
Groups = Annotated[list[str] | None, typer.Option("--group", help="Host group; may be given again.")]
RoleOption = Annotated[Role, typer.Option(help=ROLE_HELP)]
Name = Annotated[str, typer.Argument(callback=check_name, help="The user's name.")]


@cli.command()
def add(
    name: Name,
    role: RoleOption = Role.VIEWER,
    group: Groups = None,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a user. Without a password the user can only use tokens."""
    password_hash = _hash(password_file) if password_file else None
    with transaction() as session:
        try:
            user = users.create_user(session, name=name, role=role, password_hash=password_hash, groups=group or ())
        except users.UserExistsError as error:
            fail(str(error), f"`vulsctl user passwd {name}` gives a new password")
        except UnknownGroupError as error:
            fail(str(error), "`vulsctl group list` shows the groups, `vulsctl group add` makes one")
    answer({"changed": True, "id": user.id}, f"Added {role} {name}.", as_json=as_json)


@cli.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the users."""
    with transaction() as session:
        rows = [_row(user) for user in users.list_users(session, limit=100_000)]
    table(rows, ("id", "name", "role", "groups", "disabled", "created_at"), as_json=as_json)


@cli.command()
def ensure(
    name: Annotated[str, typer.Option(callback=check_name)],
    password_file: Annotated[str, typer.Option(help="Used when the user is made; an existing one keeps its own.")],
    role: RoleOption = Role.VIEWER,
    group: Groups = None,
) -> None:
    """Make sure that a user exists with this role, and with these groups if any are named. Answers in JSON."""
    secret = read_secret(password_file)
    with transaction() as session:
        user = users.find_user(session, name)
        try:
            if user is None:
                users.create_user(session, name=name, role=role, password_hash=_hash_secret(secret), groups=group or ())
                changed = True
            else:
                changed = _align(session, user, role, group)
        except UnknownGroupError as error:
            fail(str(error), "`vulsctl group ensure` makes a group")
    answer({"changed": changed}, "", as_json=True)


@cli.command()
def passwd(name: Name, password_file: PasswordFile = "-", as_json: AsJson = False) -> None:  # noqa: S107  (standard input)
    """Give a user a new password, and sign the user out everywhere."""
    password_hash = _hash(password_file or "-")
    with transaction() as session:
        user = _find(session, name)
        user.password_hash = password_hash
        users.end_sessions(session, user.id)
    answer({"changed": True}, f"{name} has a new password and is signed out everywhere.", as_json=as_json)


@cli.command()
def disable(name: Name, as_json: AsJson = False) -> None:
    """Keep a user from signing in, end the sessions, refuse the tokens."""
    with transaction() as session:
        user = _find(session, name)
        changed = not user.disabled
        users.disable_user(session, user)
    answer({"changed": changed}, f"{name} is disabled; sockets close within seconds.", as_json=as_json)


@cli.command()
def enable(name: Name, as_json: AsJson = False) -> None:
    """Let a disabled user sign in again."""
    with transaction() as session:
        user = _find(session, name)
        changed, user.disabled = user.disabled, False
    answer({"changed": changed}, f"{name} may sign in.", as_json=as_json)


def _align(session: Session, user: models.User, role: Role, groups: list[str] | None) -> bool:
    changed = user.role != role
    user.role = str(role)
    if groups is not None and {group.name for group in user.groups} != set(groups):
        user.groups = groups_by_name(session, groups)
        changed = True
    return changed


def _find(session: Session, name: str) -> models.User:
    user = users.find_user(session, name)
    if user is None:
        fail(f"there is no user called {name}", "`vulsctl user list` shows all users")
    return user


def _hash(password_file: str) -> str:
    return _hash_secret(read_secret(password_file))


def _hash_secret(secret: str) -> str:
    try:
        return hash_password(secret)
    except WeakPasswordError as error:
        fail(str(error), "choose another one")


def _row(user: models.User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "role": user.role,
        "groups": [group.name for group in user.groups],
        "disabled": user.disabled,
        "created_at": user.created_at.isoformat(timespec="seconds"),
    }
