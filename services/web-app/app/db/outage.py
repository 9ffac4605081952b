"""What an error of the database means for work that shall not be lost: whether, and for how long, to try again."""

from enum import StrEnum

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

READ_ONLY = "25006"
# PostgreSQL, appendix "Error Codes". 25006 is a standby, or a primary that is one no longer; 53100 and 53300 are a full
# disk and no connection left. A full disk takes nothing at all, so it is an outage, and no fault of what was written.
_AWAY = frozenset({READ_ONLY, "25P03", "53100", "53300", "57P01", "57P02", "57P03", "57P04", "57P05"})
_BUSY = frozenset({"40001", "40P01", "55P03"})
_REFUSED = {
    "53200": "it has too little memory for it",
    "53400": "it is beyond a limit of its configuration",
    "57014": "it did not get done with it in time",
}
_BEYOND_LIMIT = "it is beyond a limit of PostgreSQL"
_LOCKED = "something else holds what it needs locked"


class Trouble(StrEnum):
    """`AWAY` ends by itself or by an operator, `BUSY` as others get done, `REFUSED` perhaps, when asked once more."""

    AWAY = "away"
    BUSY = "busy"
    REFUSED = "unwilling"


def sqlstate(error: BaseException) -> str | None:
    """Return the code by which PostgreSQL named the error; None for one that did not come from there."""
    return getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None


def trouble(error: BaseException) -> Trouble | None:
    """Tell which trouble of the database `error` is; None for all else, such as a value that it cannot hold."""
    if not isinstance(error, SQLAlchemyError):
        return None
    state = sqlstate(error)
    if state is None:  # of the driver, which lost its connection or got none
        return Trouble.AWAY if _is_without_connection(error) else None
    if state in _AWAY or state.startswith("08"):
        return Trouble.AWAY
    if state in _BUSY:
        return Trouble.BUSY
    return Trouble.REFUSED if state in _REFUSED or state.startswith("54") else None


def why(error: BaseException) -> str:
    """Return in words for people why the database did not do what was asked, as the second half of a sentence."""
    state = sqlstate(error) or ""
    return _LOCKED if state in _BUSY else _REFUSED.get(state, _BEYOND_LIMIT)


def _is_without_connection(error: SQLAlchemyError) -> bool:
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or isinstance(error, (OperationalError, InterfaceError, PoolTimeoutError))
