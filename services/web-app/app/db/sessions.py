"""Browser sessions and the login throttle. A session is known by the SHA-256 of its cookie's value only."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, LargeBinary, delete, func, insert, select, update
from sqlalchemy.orm import Session

from app.db.arrays import one_of
from app.db.models import LoginFailure, UserSession

TOUCH_EVERY = timedelta(seconds=60)  # `last_seen_at` is this coarse, so that reading does not write each time


def start_session(session: Session, *, token_hash: bytes, user_id: int, lifetime: int, address: str | None) -> None:
    """Store a session that ends after `lifetime` seconds at the latest."""
    session.execute(
        insert(UserSession).values(
            token_hash=token_hash,
            user_id=user_id,
            created_at=func.now(),
            last_seen_at=func.now(),
            expires_at=func.now() + timedelta(seconds=lifetime),
            address=address,
        )
    )


def use_session(session: Session, token_hash: bytes, idle: int) -> int | None:
    """Return the id of the user whose session this is and note the use; None when it has ended.

    `idle` is the number of seconds without a request after which a session ends.
    """
    row = session.execute(
        select(UserSession.user_id, UserSession.last_seen_at < func.now() - TOUCH_EVERY).where(
            UserSession.token_hash == token_hash, *_alive(idle)
        )
    ).one_or_none()
    if row is None:
        return None
    user_id, stale = row
    if stale:
        session.execute(update(UserSession).where(UserSession.token_hash == token_hash).values(last_seen_at=func.now()))
    return int(user_id)


def live_sessions(session: Session, token_hashes: Collection[bytes], idle: int) -> set[bytes]:
    """Return those of `token_hashes` whose sessions have not ended."""
    return set(
        session.scalars(
            select(UserSession.token_hash).where(
                UserSession.token_hash == one_of(token_hashes, LargeBinary), *_alive(idle)
            )
        )
    )


def end_session(session: Session, token_hash: bytes) -> None:
    """Sign one browser out."""
    session.execute(delete(UserSession).where(UserSession.token_hash == token_hash))


def _alive(idle: int) -> tuple[ColumnElement[bool], ...]:
    return (
        UserSession.expires_at > func.now(),
        UserSession.last_seen_at > func.now() - timedelta(seconds=idle),
    )


def begin_attempt(session: Session, *, user_name: str, address: str | None) -> int:
    """Count a login as failed before the password is looked at, and return the attempt's id.

    It counts until `forgive` says otherwise. Commit before `judge_attempt`: only then do many logins at the same moment
    see each other.
    """
    failure = LoginFailure(user_name=user_name, address=address, failed_at=func.now())
    session.add(failure)
    session.flush()
    return failure.id


def judge_attempt(
    session: Session, attempt_id: int, *, user_name: str, address: str | None, limit: int, window: int
) -> float | None:
    """Return the seconds that this attempt must wait; None: go on.

    It may go on while the user name and the address each have at most `limit` failures in the last `window` seconds,
    this attempt included. A refused attempt is not counted, so that waiting helps whatever others do meanwhile.
    """
    since = func.now() - timedelta(seconds=window)
    waits = []
    for condition in (LoginFailure.user_name == user_name, LoginFailure.address == address):
        failures = session.scalars(
            select(LoginFailure.failed_at)
            .where(condition, LoginFailure.failed_at > since)
            .order_by(LoginFailure.failed_at.desc())
            .limit(limit + 1)
        ).all()
        if len(failures) > limit:
            waits.append(_seconds_until(session, failures[-1] + timedelta(seconds=window)))
    if not waits:
        return None
    session.execute(delete(LoginFailure).where(LoginFailure.id == attempt_id))
    return max(waits)


def forgive(session: Session, *, user_name: str, address: str | None) -> None:
    """Forget this user's failures from this address, after a login that succeeded."""
    session.execute(
        delete(LoginFailure).where(
            LoginFailure.user_name == user_name, LoginFailure.address.is_not_distinct_from(address)
        )
    )


def _seconds_until(session: Session, moment: datetime) -> float:
    now: datetime = session.execute(select(func.now())).scalar_one()
    return max(1.0, (moment - now).total_seconds())
