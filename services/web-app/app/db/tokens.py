"""Bearer tokens. A token is known by its SHA-256 only; its `prefix` helps people to tell tokens apart."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from app.db.arrays import one_of
from app.db.models import ApiToken, User


@dataclass(frozen=True)
class ListedToken:
    """A token as lists show it, with its user's name."""

    token: ApiToken
    user_name: str


def create_token(
    session: Session, *, user_id: int, name: str, prefix: str, token_hash: bytes, expires_at: datetime | None
) -> ApiToken:
    """Store a token of a user."""
    token = ApiToken(
        user_id=user_id,
        name=name,
        prefix=prefix,
        token_hash=token_hash,
        created_at=func.now(),
        expires_at=expires_at,
        revoked_at=None,
    )
    session.add(token)
    session.flush()
    session.refresh(token)
    return token


def use_token(session: Session, token_hash: bytes) -> tuple[int, int] | None:
    """Return the ids of the token and of its user, or None when it is unknown, revoked or expired."""
    row = session.execute(
        select(ApiToken.id, ApiToken.user_id).where(ApiToken.token_hash == token_hash, *_alive())
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def live_tokens(session: Session, token_ids: Collection[int]) -> set[int]:
    """Return those of `token_ids` that are neither revoked nor expired."""
    return set(session.scalars(select(ApiToken.id).where(ApiToken.id == one_of(token_ids, BigInteger), *_alive())))


def list_tokens(session: Session, after: int | None = None, limit: int = 100) -> Sequence[ListedToken]:
    """Return up to `limit` tokens, revoked ones too, whose id is above `after`, lowest id first."""
    query = select(ApiToken, User.name).join(User, User.id == ApiToken.user_id).order_by(ApiToken.id).limit(limit)
    if after is not None:
        query = query.where(ApiToken.id > after)
    return [ListedToken(token, name) for token, name in session.execute(query)]


def revoke_token(session: Session, token_id: int) -> bool:
    """End a token for good; False when there is no live token with this id."""
    revoked = session.scalar(
        update(ApiToken)
        .where(ApiToken.id == token_id, ApiToken.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(ApiToken.id)
    )
    return revoked is not None


def _alive() -> tuple[ColumnElement[bool], ...]:
    return (
        ApiToken.revoked_at.is_(None),
        or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > func.now()),
    )
