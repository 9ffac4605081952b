"""Logging for every process: plain lines on standard error, which journald keeps."""

import asyncio
import logging
import sys

import psycopg

_POOLS = ("QueuePool", "AsyncAdaptedQueuePool", "NullPool")


def configure_logging(level: str = "INFO") -> None:
    """Send records of `level` and above to standard error, without a time (journald adds it)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for pool in _POOLS:
        logging.getLogger(f"sqlalchemy.pool.impl.{pool}").addFilter(calm)


def calm(record: logging.LogRecord) -> bool:
    """Filter of the connection pools' logs: one line for work that was given up, and for a connection that was lost.

    The first happens at a deadline, the second when the server stops while a session is open: what libpq says of it by
    itself has no code, and comes as a plain DatabaseError. The pool then throws the connection away, which is all there
    is to do; who waited for an answer is told by an error of its own.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, asyncio.CancelledError):
        record.msg, record.args, record.exc_info = "Closed a database connection whose work was given up", (), None
        record.levelno, record.levelname = logging.INFO, "INFO"
    elif isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or type(error) is psycopg.DatabaseError:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        record.msg, record.args = "Gave up a database connection that was lost while in use (%s)", (why,)
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True
