"""Looks at what the executor depends on."""

import stat
from typing import Literal

from executor.engine import Engine, EngineUnreachable
from executor.problems import JobFailed
from executor.schema import Health
from executor.settings import Settings


def check(settings: Settings, engine: Engine) -> Health:
    """Ask the engine and look at the database. Blocks."""
    database = _database(settings)
    try:
        image: Literal["ok", "missing"] = "ok" if engine.has_image() else "missing"
    except (EngineUnreachable, JobFailed):
        return Health(status="ill", engine="unreachable", image="unknown", database=database)
    if image == "missing":
        return Health(status="ill", engine="ok", image=image, database=database)
    return Health(status="ok" if database == "ok" else "degraded", engine="ok", image=image, database=database)


def _database(settings: Settings) -> Literal["ok", "missing", "unreadable"]:
    """Look for the read bits of the containers' user, which is in no group of this host."""
    try:
        found = settings.database.stat()
    except OSError:
        return "missing"
    wanted = stat.S_IRUSR if found.st_uid == settings.uid else stat.S_IROTH
    if stat.S_ISDIR(found.st_mode):
        wanted |= wanted >> 2
    return "ok" if found.st_mode & wanted == wanted else "unreadable"
