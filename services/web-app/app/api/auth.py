"""Who is asking: the session cookie or the bearer token of a request, and what its user may do."""

import ipaddress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from app.api.deps import Db
from app.api.instance import CurrentInstance
from app.api.problems import ProblemError, forbidden
from app.config import Settings
from app.db.sessions import use_session
from app.db.tokens import use_token
from app.db.users import load_access
from app.domain.permissions import Access
from app.realtime.client import Credential, SessionCredential, TokenCredential
from app.utils.passwords import secret_hash

COOKIE = "__Host-vuls_session"
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_MAX_SECRET = 200  # characters of a cookie or token that are looked at


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user who proved who they are, by which credential, and what they may do now."""

    access: Access
    credential: Credential


def client_address(connection: HTTPConnection) -> str | None:
    """Return the address of the browser or tool as the edge balancer set it, or None where nothing set one.

    The instance listens on a Unix socket only, so nobody but the proxy can say anything here; the edge balancer
    overwrites `X-Forwarded-For`, so that a forged one never comes this far.
    """
    try:
        return str(ipaddress.ip_address(connection.client.host)) if connection.client else None
    except ValueError:
        return None


def origin_allowed(connection: HTTPConnection, settings: Settings) -> bool:
    """Say whether the request names an Origin and the list has it."""
    return connection.headers.get("origin") in settings.allowed_origins


def not_signed_in(detail: str = "Sign in first.") -> ProblemError:
    """Make the answer for a request without a valid session or token."""
    return ProblemError(401, "not_signed_in", detail, headers={"WWW-Authenticate": "Bearer"})


def origin_refused() -> ProblemError:
    """Make the answer for a request that another site may have caused."""
    return ProblemError(
        403,
        "origin_refused",
        "This request came from a page under another address than this system's own, so nothing was done. Open the page"
        " under the address that your administrator gave you; a tool uses a token.",
    )


async def identify(connection: HTTPConnection, db: Db, settings: Settings) -> SignedIn | None:
    """Return who sent this request, or None where it carries no valid session or token.

    With an `Authorization` header only that counts, whatever cookies came along.
    """
    authorization = connection.headers.get("authorization")
    if authorization is not None:
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(secret) <= _MAX_SECRET:
            return None
        found = await db.run_sync(_by_token, secret_hash(secret.strip()))
    else:
        cookie = connection.cookies.get(COOKIE)
        if not cookie or len(cookie) > _MAX_SECRET:
            return None
        found = await db.run_sync(_by_session, secret_hash(cookie), settings.session_idle)
    await db.commit()
    return found


def _by_token(session: Session, token_hash: bytes) -> SignedIn | None:
    used = use_token(session, token_hash)
    access = load_access(session, used[1]) if used else None
    return SignedIn(access, TokenCredential(used[0])) if used and access else None


def _by_session(session: Session, token_hash: bytes, idle: int) -> SignedIn | None:
    user_id = use_session(session, token_hash, idle)
    access = None if user_id is None else load_access(session, user_id)
    return SignedIn(access, SessionCredential(token_hash)) if access else None


async def optional_user(connection: HTTPConnection, db: Db, instance: CurrentInstance) -> SignedIn | None:
    """Give who is asking, or None. For pages that send strangers to the sign-in page."""
    return await identify(connection, db, instance.settings)


async def current_user(
    connection: HTTPConnection, instance: CurrentInstance, found: Annotated[SignedIn | None, Depends(optional_user)]
) -> SignedIn:
    """Give who is asking; refuse strangers, and changes that another site's page may have caused."""
    if found is None:
        raise not_signed_in()
    by_cookie = isinstance(found.credential, SessionCredential)
    if by_cookie and connection.scope.get("method") not in _SAFE_METHODS:
        require_origin(connection, instance.settings)
    return found


def require_origin(connection: HTTPConnection, settings: Settings) -> None:
    """Refuse what does not come from one of our own pages."""
    if not origin_allowed(connection, settings):
        raise origin_refused()


async def admin_user(user: Annotated[SignedIn, Depends(current_user)]) -> SignedIn:
    """Give who is asking if it is an administrator."""
    if not user.access.is_admin:
        raise forbidden("Only administrators may do this.")
    return user


User = Annotated[SignedIn, Depends(current_user)]
Admin = Annotated[SignedIn, Depends(admin_user)]
OptionalUser = Annotated[SignedIn | None, Depends(optional_user)]
