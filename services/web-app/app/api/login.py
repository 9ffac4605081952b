"""`/api/auth`: sign in, sign out, who am I."""

import math

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from app.api import passwords
from app.api.auth import COOKIE, OptionalUser, User, client_address, require_origin
from app.api.deps import Db
from app.api.instance import CurrentInstance, Instance
from app.api.problems import ProblemError
from app.api.schemas import Login, Me
from app.db import models, sessions, users
from app.domain.permissions import Role
from app.domain.throttle import counted_as
from app.realtime.client import SessionCredential
from app.utils.passwords import new_secret, secret_hash

router = APIRouter(prefix="/api/auth", tags=["auth"])


@router.post("/login")
async def login(body: Login, request: Request, response: Response, db: Db, instance: CurrentInstance) -> Me:
    """Sign in with name and password. The session cookie is new each time; one that came along ends.

    A wrong password, an unknown name and a disabled user get the same answer after the same time. Too many failures of
    the name or the address (of IPv6: the /64 that it is in) are answered with 429 and `Retry-After`.
    """
    if "origin" in request.headers:
        require_origin(request, instance.settings)
    address = client_address(request)
    source = counted_as(address)
    await _throttle(db, instance, body.username, source)
    user = await db.run_sync(users.find_user, body.username)
    await db.commit()  # gives the connection back: the password takes a while
    fits = await passwords.check(body.password.get_secret_value(), user.password_hash if user else None)
    if user is None or user.disabled or not fits:
        raise ProblemError(401, "login_failed", "The user name or the password is wrong.")
    await db.run_sync(lambda session: sessions.forgive(session, user_name=body.username, address=source))
    await _new_session(request, response, db, instance, user.id, address)
    await db.commit()
    return to_me(user)


@router.post("/logout", status_code=204)
async def logout(request: Request, response: Response, db: Db, instance: CurrentInstance, user: OptionalUser) -> None:
    """Sign this browser out, and close its sockets: here at once, on other instances within seconds."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    if user is None or not isinstance(user.credential, SessionCredential):
        return
    require_origin(request, instance.settings)
    await db.run_sync(sessions.end_session, user.credential.token_hash)
    await db.commit()
    instance.realtime.manager.end(user.credential)


@router.get("/me")
async def me(db: Db, signed_in: User) -> Me:
    """Say who is signed in; 401 when nobody is."""
    user = await db.run_sync(users.get_user, signed_in.access.user_id)
    if user is None:
        raise ProblemError(401, "not_signed_in", "Sign in first.")
    return to_me(user)


def to_me(user: models.User) -> Me:
    """Show a user to themselves."""
    role = Role(user.role)
    groups = [group.name for group in user.groups]
    return Me(id=user.id, name=user.name, role=role, groups=groups, sees_all=role is Role.ADMIN)


async def _throttle(db: Db, instance: Instance, user_name: str, address: str | None) -> None:
    settings = instance.settings
    attempt_id = await db.run_sync(
        lambda session: sessions.begin_attempt(session, user_name=user_name, address=address)
    )
    await db.commit()

    def judge(session: Session) -> float | None:
        return sessions.judge_attempt(
            session,
            attempt_id,
            user_name=user_name,
            address=address,
            limit=settings.login_attempts,
            window=settings.login_window,
        )

    retry_after = await db.run_sync(judge)
    await db.commit()
    if retry_after is not None:
        seconds = math.ceil(retry_after)
        raise ProblemError(
            429,
            "too_many_attempts",
            f"Too many failed logins. Try again in {seconds} seconds.",
            headers={"Retry-After": str(seconds)},
        )


async def _new_session(
    request: Request, response: Response, db: Db, instance: Instance, user_id: int, address: str | None
) -> None:
    settings = instance.settings
    previous = request.cookies.get(COOKIE)
    if previous:
        await db.run_sync(sessions.end_session, secret_hash(previous))
    secret = new_secret()
    await db.run_sync(
        lambda session: sessions.start_session(
            session,
            token_hash=secret_hash(secret),
            user_id=user_id,
            lifetime=settings.session_lifetime,
            address=address,
        )
    )
    response.set_cookie(
        COOKIE, secret, max_age=settings.session_lifetime, path="/", secure=True, httponly=True, samesite="lax"
    )
