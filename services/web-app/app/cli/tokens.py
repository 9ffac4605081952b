"""`vulsctl token`: bearer tokens of tools."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from app.cli.connection import transaction
from app.cli.names import check_name
from app.cli.output import AsJson, answer, fail, table
from app.db import tokens, users
from app.utils.passwords import new_token, secret_hash

cli = typer.Typer(help="Bearer tokens: what tools sign in with.", no_args_is_help=True)


@cli.command()
def create(
    user: Annotated[str, typer.Argument(callback=check_name, help="Whose rights the token has.")],
    name: Annotated[str, typer.Option(help="What it is for.")],
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Ends after so many days.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, this once."""
    secret = new_token()
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with transaction() as session:
        owner = users.find_user(session, user)
        if owner is None:
            fail(f"there is no user called {user}", "`vulsctl user list` shows all users")
        token = tokens.create_token(
            session,
            user_id=owner.id,
            name=name,
            prefix=secret[:8],
            token_hash=secret_hash(secret),
            expires_at=expires_at,
        )
    answer({"changed": True, "id": token.id, "token": secret}, secret, as_json=as_json)


@cli.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the tokens, without their secrets."""
    with transaction() as session:
        rows = [
            {
                "id": row.token.id,
                "user": row.user_name,
                "name": row.token.name,
                "prefix": row.token.prefix,
                "expires_at": row.token.expires_at,
                "revoked": row.token.revoked_at is not None,
            }
            for row in tokens.list_tokens(session, limit=100_000)
        ]
    table(rows, ("id", "user", "name", "prefix", "expires_at", "revoked"), as_json=as_json)


@cli.command()
def revoke(
    token_id: Annotated[int, typer.Argument(help="The id that `vulsctl token list` shows.")], as_json: AsJson = False
) -> None:
    """End a token for good; open connections end within seconds."""
    with transaction() as session:
        if not tokens.revoke_token(session, token_id):
            fail(f"there is no live token with the id {token_id}", "`vulsctl token list` shows all tokens")
    answer({"changed": True}, f"Token {token_id} is revoked.", as_json=as_json)
