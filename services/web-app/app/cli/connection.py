"""The database behind a verb."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from app.cli.output import fail
from app.config import get_settings
from app.db.engine import make_engine, session_factory
from app.db.outage import Trouble, trouble

_MISSING = "run `vulsctl db upgrade`; if that has been done, this host's database role may not do it"

_IF_SEVERAL = (
    ". If the hosts answer and none of them takes writes, the primary is gone: promote the replica"
    " (playbooks/promote_database.yml)"
)


@contextmanager
def transaction(if_refused: str = _MISSING) -> Iterator[Session]:
    """Give a session whose changes are committed at the end, or end with a sentence about the database."""
    engine = make_engine(get_settings())
    try:
        with explained(if_refused), session_factory(engine).begin() as session:
            yield session
    finally:
        engine.dispose()


@contextmanager
def explained(if_refused: str = _MISSING) -> Iterator[None]:
    """End with a sentence where the database does not answer or refuses; `if_refused` says what to do about that."""
    settings = get_settings()
    try:
        yield
    except OperationalError as error:
        if trouble(error) is Trouble.BUSY:
            fail(
                f"something holds what is needed in the database {settings.database_name} locked: {_first_line(error)}",
                "find out what in pg_stat_activity (a backup, a forgotten session), then run this again after its end",
            )
        fail(
            f"the database {settings.database_name} on {settings.database_host} does not answer: {_first_line(error)}",
            "look at `systemctl status postgresql` there, and at VULS_DATABASE_* here"
            + _IF_SEVERAL * ("," in settings.database_host),
        )
    except ProgrammingError as error:
        fail(f"the database refuses: {_first_line(error)}", if_refused)


def _first_line(error: OperationalError | ProgrammingError) -> str:
    """Return what the server said, without the statement."""
    return str(error.orig).strip().partition("\n")[0]
