"""A backup is restored by the commands of docs/operations/restore.md, into the cluster that it came from."""

import re
import subprocess
from pathlib import Path

import pytest

from app.db import migrate
from app.db.engine import make_engine, session_factory
from app.db.events import begin_epoch, head, maintain, oldest_sequence, read_events, record_event
from app.domain.permissions import Access, Role
from app.realtime.replay import ResyncRequiredError, replay
from tests.services import Database, required

PAGE = Path(__file__).parents[4] / "docs/operations/restore.md"
EVERYTHING = Access(1, "admin", Role.ADMIN, None)


def command(program: str, database: Database, dump: Path) -> str:
    """The page's command, for the database of this test."""
    line: str
    (line,) = re.findall(rf"^ *\$ (.*\b{program} .*)$", PAGE.read_text(), re.MULTILINE)
    line = line.replace(" vuls-db ", f" {required('VULS_TEST_SERVICES_CONTAINER')} ")
    line = line.replace(" vuls ", f" {database.name} ")
    return line.replace(".local/vuls.dump", str(dump))


def run(program: str, database: Database, dump: Path) -> None:
    done = subprocess.run(["bash", "-c", command(program, database, dump)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def grants(database: Database) -> list[tuple[str, ...]]:
    return database.execute(
        "SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relacl IS NOT NULL"
        " UNION ALL SELECT datname, datacl::text FROM pg_database WHERE datname = current_database()"
        " UNION ALL SELECT polname, polrelid::regclass::text FROM pg_policy"
        " UNION ALL SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
        " UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' ORDER BY 1, 2"
    )


def happen(database: Database, number: int) -> None:
    engine = make_engine(database.settings("worker"))
    with session_factory(engine).begin() as session:
        record_event(session, "notice", None, {"number": number})
    engine.dispose()


def test_a_restored_database_is_whole_and_old_cursors_are_told_to_load_anew(
    bare_database: Database, tmp_path: Path
) -> None:
    database, dump = bare_database, tmp_path / "vuls.dump"
    migrate.upgrade(database.settings("cli"))
    happen(database, 1)
    run("pg_dump", database, dump)
    assert dump.stat().st_mode & 0o077 == 0
    before = grants(database)
    for number in (2, 3):
        happen(database, number)
    engine = make_engine(database.settings("web"))
    sessions = session_factory(engine)
    with sessions() as session:
        old = head(session)
    engine.dispose()

    run("pg_restore", database, dump)

    assert grants(database) == before
    assert migrate.upgrade(database.settings("cli")).changed is False
    for number in (20, 30, 40):
        happen(database, number)
    with sessions() as session:
        missed = replay(session, EVERYTHING, old, 100).events
        assert [event.data["number"] for event in missed] == [40], (
            "this is why there is new-epoch: 20 and 30 are skipped"
        )
    owner = make_engine(database.settings("cli"))
    with session_factory(owner).begin() as session:
        assert begin_epoch(session)[0] == old.epoch
    owner.dispose()
    with sessions() as session, pytest.raises(ResyncRequiredError, match="other_epoch"):
        replay(session, EVERYTHING, old, 100)
    with sessions() as session:
        assert [event.data["number"] for event in read_events(session, 0, 100)[1]] == [1, 20, 30, 40]
        assert oldest_sequence(session) == 1
    engine.dispose()
    scheduler = make_engine(database.settings("scheduler"))
    with session_factory(scheduler).begin() as session:
        assert maintain(session, 90) == 0
    scheduler.dispose()
