"""What a worker process makes once and keeps: made when first used, so after Celery has forked."""

from functools import lru_cache

from sqlalchemy.orm import Session, sessionmaker

from app.config import get_settings
from app.db.engine import make_engine, session_factory


@lru_cache(maxsize=1)
def sessions() -> sessionmaker[Session]:
    """Return the maker of this process's database sessions."""
    return session_factory(make_engine(get_settings()))
