"""Argon2id beside the event loop: in threads, few at a time."""

import asyncio

from app.utils.passwords import hash_password, verify_password

AT_ONCE = 2  # each takes 64 MiB and a core; further logins wait their turn

_slots = asyncio.Semaphore(AT_ONCE)


async def check(password: str, password_hash: str | None) -> bool:
    """Say whether the password fits; takes as long for users who do not exist."""
    async with _slots:
        return await asyncio.to_thread(verify_password, password, password_hash)


async def make_hash(password: str) -> str:
    """Return what is stored of a password."""
    async with _slots:
        return await asyncio.to_thread(hash_password, password)
