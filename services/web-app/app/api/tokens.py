"""`/api/tokens`: bearer tokens of tools. For administrators."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path

from app.api.auth import Admin
from app.api.deps import Db, Limit, page
from app.api.instance import CurrentInstance
from app.api.problems import invalid, not_found
from app.api.schemas import Id, NewToken, Page, TokenMade, TokenShown
from app.db import models, tokens, users
from app.realtime.client import TokenCredential
from app.utils.passwords import new_token, secret_hash

router = APIRouter(prefix="/api/tokens", tags=["tokens"])


@router.get("", response_model=Page[TokenShown])
async def list_tokens(db: Db, _: Admin, after: Id | None = None, limit: Limit = 100) -> dict[str, Any]:
    """List all tokens, revoked ones too. The secrets are not stored."""
    rows = await db.run_sync(tokens.list_tokens, after, limit + 1)
    return page(rows, limit, lambda row: token_json(row.token, row.user_name), lambda row: row.token.id)


@router.post("", status_code=201, response_model=TokenMade)
async def create_token(body: NewToken, db: Db, _: Admin) -> dict[str, Any]:
    """Make a token. It has its user's rights and is shown this once."""
    user = await db.run_sync(users.find_user, body.user)
    if user is None:
        raise invalid("user", "There is no such user.")
    secret = new_token()
    expires_at = None if body.days is None else datetime.now(UTC) + timedelta(days=body.days)
    token = await db.run_sync(
        lambda session: tokens.create_token(
            session,
            user_id=user.id,
            name=body.name,
            prefix=secret[:8],
            token_hash=secret_hash(secret),
            expires_at=expires_at,
        )
    )
    await db.commit()
    return token_json(token, user.name) | {"token": secret}


@router.delete("/{token_id}", status_code=204)
async def revoke_token(token_id: Annotated[Id, Path()], db: Db, instance: CurrentInstance, _: Admin) -> None:
    """End a token for good, and what is connected with it: here at once, on other instances within seconds."""
    if not await db.run_sync(tokens.revoke_token, token_id):
        raise not_found("token")
    await db.commit()
    instance.realtime.manager.end(TokenCredential(token_id))


def token_json(token: models.ApiToken, user_name: str) -> dict[str, Any]:
    """Return what HTTP bodies say of a token."""
    return {
        "id": token.id,
        "user": user_name,
        "name": token.name,
        "prefix": token.prefix,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    }
