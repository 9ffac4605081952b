"""Permissions of connected clients, compared with the database every few seconds."""

import asyncio
import logging

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from app.db.sessions import live_sessions
from app.db.tokens import live_tokens
from app.db.users import load_accesses
from app.domain.permissions import Access
from app.realtime.client import Credential, SessionCredential, TokenCredential
from app.realtime.hub import ConnectionManager

AGAIN = 0.5  # seconds until the next comparison when one failed
log = logging.getLogger(__name__)


async def recheck_permissions(
    sessions: async_sessionmaker[AsyncSession], manager: ConnectionManager, *, interval: float, idle: int
) -> None:
    """Every `interval` seconds close or re-filter the clients whose sign-in or rights changed. Runs until cancelled.

    An open socket is not a request: a session that is idle for `idle` seconds ends, and its sockets with it.
    """
    pause = interval
    while True:
        await asyncio.sleep(pause)
        pause = interval
        if not len(manager):
            continue
        try:
            async with asyncio.timeout(interval), sessions() as session:
                accesses, ended = await session.run_sync(
                    _compare, {client.credential for client in manager.clients()}, list(manager.user_ids), idle
                )
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("Cannot compare permissions (%s); trying on", type(error).__name__)
            pause = min(interval, AGAIN)
        else:
            manager.refresh(accesses, ended)


def _compare(
    session: Session, credentials: set[Credential], user_ids: list[int], idle: int
) -> tuple[dict[int, Access | None], set[Credential]]:
    # Rights first: whoever is removed between the two reads has a sign-in that ended, as in any other moment.
    found = load_accesses(session, user_ids)
    hashes = {item.token_hash for item in credentials if isinstance(item, SessionCredential)}
    token_ids = {item.token_id for item in credentials if isinstance(item, TokenCredential)}
    alive: set[Credential] = {SessionCredential(item) for item in live_sessions(session, hashes, idle)}
    alive |= {TokenCredential(item) for item in live_tokens(session, token_ids)}
    return {user_id: found.get(user_id) for user_id in user_ids}, credentials - alive
