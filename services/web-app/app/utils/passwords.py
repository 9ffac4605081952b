"""Passwords and random tokens: Argon2id for what people choose, SHA-256 for what is random anyway."""

import hashlib
import secrets
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH, MAX_LENGTH = 12, 1024  # characters; the upper one bounds the work of one login
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=2)


class WeakPasswordError(ValueError):
    """The password is too short or too long; the message says what is asked."""


def hash_password(password: str) -> str:
    """Return an Argon2id hash with its salt and parameters. Takes tens of milliseconds and 64 MiB.

    Raises:
        WeakPasswordError: the length is out of bounds.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise WeakPasswordError(f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters.")
    return _HASHER.hash(password)


def verify_password(password: str, password_hash: str | None) -> bool:
    """Say whether `password` is the one behind `password_hash`.

    Without a hash (unknown user, user without a password) it works as long and says no, so that the time tells nothing.
    """
    try:
        _HASHER.verify(password_hash or _nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return _HASHER.hash(secrets.token_urlsafe(32))


def new_secret() -> str:
    """Return 256 random bits as text, for a session cookie or a token."""
    return secrets.token_urlsafe(32)


def secret_hash(secret: str) -> bytes:
    """Return what is stored of a random secret. It needs no salt and no slow hash: it cannot be guessed."""
    return hashlib.sha256(secret.encode()).digest()


def new_token() -> str:
    """Return a bearer token; its beginning tells people and secret scanners what it is."""
    return f"vl_{new_secret()}"
