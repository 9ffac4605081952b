"""What a release knows of the schema, and where the database is.

Run by that release's Python with a component's settings. Prints one JSON object: `current` (the database's revision,
null when it has no tables), `head`, `migrations` in order, each with `revision`, `kind` (releases from before there
were kinds only expand) and `what`, and `applied`: those of them that the database has; none where the release does not
know its revision.
"""

import json
import sys

from alembic.script import ScriptDirectory
from app.config import get_settings
from app.db import migrate
from app.db.engine import make_engine


def main() -> None:
    """Answer."""
    scripts = ScriptDirectory.from_config(migrate.alembic_config())
    known = list(scripts.walk_revisions())
    known.reverse()
    engine = make_engine(get_settings(), compare_epoch=False)
    with engine.connect() as connection:
        current = migrate.current_revision(connection)
    migrations = [
        {"revision": one.revision, "kind": getattr(one.module, "kind", "expand"), "what": one.doc} for one in known
    ]
    revisions = [one["revision"] for one in migrations]
    applied = migrations[: revisions.index(current) + 1] if current in revisions else []
    answer = {"current": current, "head": scripts.get_current_head(), "migrations": migrations, "applied": applied}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
