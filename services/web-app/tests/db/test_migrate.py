"""The migrations make what the models say, once, whoever runs them at the same time."""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from app.db import migrate
from app.db.engine import make_engine
from app.db.models import Base
from tests.conftest import SettingsMaker
from tests.services import Database
from tests.waiting import wait_until


def _no_partition(name: str | None, *_: Any) -> bool:
    return not re.fullmatch("event_(default|w[0-9]{8})(_.*)?", name or "")


def test_the_migrated_schema_is_that_of_the_models(make_settings: SettingsMaker) -> None:
    engine = make_engine(make_settings("cli"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _no_partition})
        assert compare_metadata(context, Base.metadata) == []
        assert migrate.current_revision(connection) == migrate.head_revision()
    engine.dispose()


def test_a_second_upgrade_changes_nothing(make_settings: SettingsMaker) -> None:
    assert not migrate.upgrade(make_settings("cli")).changed


def test_of_two_upgrades_at_once_one_does_the_work(bare_database: Database) -> None:
    settings = bare_database.settings("cli")
    with ThreadPoolExecutor(2) as pool:
        assert sorted(done.changed for done in pool.map(migrate.upgrade, [settings] * 2)) == [False, True]


def test_an_upgrade_by_another_role_changes_nothing(bare_database: Database) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        migrate.upgrade(bare_database.settings("web"))
    assert bare_database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


@pytest.mark.parametrize("component", ["web", "scheduler", "worker"])
def test_each_component_can_tell_the_revision(make_settings: SettingsMaker, component: str) -> None:
    with psycopg.connect(make_settings(component).database_url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(migrate.head_revision(),)]


def move(database: Database, verb: Callable[[Config, str], None], revision: str) -> None:
    engine = make_engine(database.settings("cli"), compare_epoch=False)
    with engine.connect() as connection:
        config = migrate.alembic_config()
        config.attributes["connection"] = connection
        verb(config, revision)
        connection.commit()
    engine.dispose()


def test_the_log_moves_into_partitions_and_back_with_all_that_it_holds(bare_database: Database) -> None:
    move(bare_database, command.upgrade, "0003")
    log = "SELECT seq, type, data, created_at FROM event ORDER BY seq"
    fill = (
        "INSERT INTO event (type, data, created_at)"
        " SELECT 'notice', '{}', now() - n * interval '9 days' FROM generate_series(0, 5) n"
    )
    bare_database.execute(fill)
    before = bare_database.execute(log)

    move(bare_database, command.upgrade, "head")
    assert bare_database.execute(log) == before
    assert bare_database.execute("SELECT count(*) FROM event_default") == [(0,)]
    bare_database.execute(fill)
    numbers = "SELECT max(seq), count(DISTINCT seq), count(DISTINCT id) FROM event"
    assert bare_database.execute(numbers) == [(12, 12, 12)]

    for verb, revision in ((command.downgrade, "0004"), (command.upgrade, "head"), (command.downgrade, "0003")):
        move(bare_database, verb, revision)
    bare_database.execute(fill)
    assert bare_database.execute(log)[:6] == before
    assert bare_database.execute(numbers) == [(18, 18, 18)]


SCANS = """
INSERT INTO host (id, name, address) VALUES (1, 'a', 'a'), (2, 'b', 'b');
INSERT INTO run (id, task_name, host_id, zone, scan_type, status, trigger, result_data)
    SELECT host * 10 + n, 'Scan', host, 'default', 'fast', 'success', 'manual', '{}'
      FROM generate_series(1, 2) AS host, generate_series(1, 2) AS n;
INSERT INTO scan (id, run_id, host_id, attempt, family, release, verdict, demo, package_count, result)
    SELECT id, id, host_id, 1, 'debian', '12', 'assessed', false, 1,
           '{"runningKernel": {"release": "6.1", "rebootRequired": true}}' FROM run;
INSERT INTO finding (scan_id, host_id, cve_id, severity, title, packages)
    SELECT id, host_id, cve, 'high', '', '[]' FROM scan, unnest('{CVE-1,CVE-2}'::text[]) AS cve
     WHERE id % 10 = 1 OR cve = 'CVE-1';
"""
STATE = "SELECT host_id, cve_id, change, changed_scan_id FROM host_finding ORDER BY host_id, cve_id"
FILLED = [
    (host, *row) for host in (1, 2) for row in (("CVE-1", "baseline", host * 10 + 1), ("CVE-2", "fixed", host * 10 + 2))
]


def test_the_state_of_each_host_is_filled_and_goes_on_where_it_was_broken_off(bare_database: Database) -> None:
    settings = bare_database.settings("cli")
    move(bare_database, command.upgrade, "0007")
    bare_database.execute(SCANS)
    bare_database.execute("ALTER TABLE host_finding ADD CONSTRAINT stops CHECK (host_id < 2)")
    with pytest.raises(IntegrityError, match="stops"):
        migrate.upgrade(settings)
    assert bare_database.execute(STATE) == FILLED[:2]
    assert bare_database.execute("SELECT version_num FROM alembic_version") == [("0007",)]
    bare_database.execute("ALTER TABLE host_finding DROP CONSTRAINT stops")
    assert migrate.upgrade(settings).changed
    assert bare_database.execute(STATE) == FILLED
    assert bare_database.execute("SELECT id, counts, kernel, reboot_required FROM scan ORDER BY id") == [
        (11, {"high": 2}, "", False),
        (12, {"high": 1}, "6.1", True),
        (21, {"high": 2}, "", False),
        (22, {"high": 1}, "6.1", True),
    ]


def test_an_upgrade_waits_for_a_lock_and_lets_others_pass_meanwhile(
    bare_database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(migrate, "_LOCK_TIMEOUT", 100)
    monkeypatch.setattr(migrate, "_PAUSE", 0.5)
    move(bare_database, command.upgrade, "0005")
    with psycopg.connect(bare_database.admin_url) as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("SELECT FROM run")  # and goes on for long, as a backup does
        upgrading = pool.submit(migrate.upgrade, bare_database.settings("cli"))
        wait_until(lambda: caplog.text.count("trying again") >= 2, 60)
        assert bare_database.execute("SELECT count(*) FROM run") == [(0,)]
        assert not upgrading.done()
        reader.rollback()
        assert upgrading.result(60).changed


def test_an_upgrade_gives_up_in_the_end_and_keeps_what_it_did(
    bare_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_LOCK_TIMEOUT", 100)
    monkeypatch.setattr(migrate, "_PATIENCE", 0.0)
    move(bare_database, command.upgrade, "0006")
    with psycopg.connect(bare_database.admin_url) as reader:
        reader.execute("SELECT FROM host")  # of which 0010 is the first to change anything
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate.upgrade(bare_database.settings("cli"))
    assert bare_database.execute("SELECT version_num FROM alembic_version") == [("0009",)]


def _migration(revision: str, before: str, kind: str) -> str:
    return (
        f'"""{revision}."""\nfrom alembic import op\nrevision, down_revision = "{revision}", "{before}"\n'
        f"branch_labels = depends_on = None\n{kind}\n"
        f'def upgrade():\n    op.get_bind().exec_driver_sql("CREATE TABLE made_by_{revision} ()")\n'
    )


@pytest.fixture
def more_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Add migrations behind the last one, by what they say of themselves."""
    here = tmp_path / "migrations"
    shutil.copytree(Path(migrate.__file__).parents[2] / "migrations", here)
    made: list[str] = []
    last = migrate.head_revision()

    def add(*kinds: str) -> list[str]:
        for number, kind in enumerate(kinds, len(made)):
            revision = f"x{number}"
            (here / "versions" / f"{revision}.py").write_text(_migration(revision, made[-1] if made else last, kind))
            made.append(revision)
        config = Config()
        config.set_main_option("script_location", str(here))
        monkeypatch.setattr(migrate, "alembic_config", lambda: config)
        return made

    return add


EXPAND, CONTRACT = 'kind = "expand"', 'kind = "contract"'


def test_what_takes_something_away_waits_until_it_is_asked_for(
    bare_database: Database, more_migrations: Callable[..., list[str]]
) -> None:
    settings = bare_database.settings("cli")
    before = migrate.upgrade(settings).revision
    more_migrations(EXPAND, CONTRACT, EXPAND)
    done = migrate.upgrade(settings)
    assert done == migrate.Upgrade(changed=True, revision="x0", waiting=("x1", "x2"))
    assert migrate.upgrade(settings) == migrate.Upgrade(changed=False, revision="x0", waiting=("x1", "x2"))
    assert migrate.upgrade(settings, contract=True) == migrate.Upgrade(changed=True, revision="x2")
    assert before != "x0"


def test_a_database_without_tables_gets_all_of_them(
    bare_database: Database, more_migrations: Callable[..., list[str]]
) -> None:
    more_migrations(CONTRACT, EXPAND)
    assert migrate.upgrade(bare_database.settings("cli")) == migrate.Upgrade(changed=True, revision="x1")


def test_an_older_release_leaves_a_schema_alone_that_a_newer_one_has_brought_further(
    bare_database: Database, more_migrations: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = bare_database.settings("cli")
    older = migrate.alembic_config
    more_migrations(EXPAND)
    migrate.upgrade(settings)
    monkeypatch.setattr(migrate, "alembic_config", older)
    assert migrate.upgrade(settings) == migrate.Upgrade(changed=False, revision="x0", ahead=True)


def test_a_migration_that_does_not_say_what_it_is_is_refused(
    bare_database: Database, more_migrations: Callable[..., list[str]]
) -> None:
    settings = bare_database.settings("cli")
    migrate.upgrade(settings)
    more_migrations("kind = 'other'")
    with pytest.raises(RuntimeError, match="x0 does not say whether it is expand or contract"):
        migrate.upgrade(settings)


def test_every_migration_says_what_it_is() -> None:
    for script in ScriptDirectory.from_config(migrate.alembic_config()).walk_revisions():
        assert migrate.kind_of(script) in migrate.KINDS
