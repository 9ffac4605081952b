"""Looks at what the executor depends on."""

import stat
from typing import Any

from executor.database import Database, DatabaseError, DatabaseMissing
from executor.engine import Engine, EngineUnreachable
from executor.problems import JobFailed
from executor.schema import DatabaseInfo, Health
from executor.settings import Settings


def check(settings: Settings, engine: Engine, database: Database) -> Health:
    """Ask the engine and look at the database. Blocks."""
    found = _look(settings, database)
    try:
        has_image = engine.has_image()
    except (EngineUnreachable, JobFailed):
        return Health(status="ill", engine="unreachable", image="unknown", **found)
    if not has_image:
        return Health(status="ill", engine="ok", image="missing", **found)
    return Health(status="ok" if found["database"] == "ok" else "degraded", engine="ok", image="ok", **found)


def _look(settings: Settings, database: Database) -> dict[str, Any]:
    try:
        facts = database.look(wait=False)
    except DatabaseMissing:
        return {"database": "missing", "database_info": None}
    except DatabaseError:
        return {"database": "unreadable", "database_info": None}
    if not _is_readable(settings):
        return {"database": "unreadable", "database_info": None}
    if facts is None:
        return {"database": "ok", "database_info": None}
    info = DatabaseInfo(digest=facts.digest, modified_at=facts.modified_at, size=facts.size, source=facts.source)
    return {"database": "ok", "database_info": info}


def _is_readable(settings: Settings) -> bool:
    """Look for the read bits of the containers' user, which is in no group of this host."""
    try:
        found = settings.database.stat()
    except OSError:
        return False
    wanted = stat.S_IRUSR if found.st_uid == settings.uid else stat.S_IROTH
    if stat.S_ISDIR(found.st_mode):
        wanted |= wanted >> 2
    return found.st_mode & wanted == wanted
