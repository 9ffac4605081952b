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
from sqlalchemy.exc import ProgrammingError

from app.db import migrate
from app.db.engine import make_engine
from app.db.models import Base
from tests.conftest import SettingsMaker
from tests.services import Database


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


def test_the_log_moves_into_partitions_and_back_with_all_that_it_holds(bare_database: Database) -> None:
    def move(verb: Callable[[Config, str], None], revision: str) -> None:
        engine = make_engine(bare_database.settings("cli"), compare_epoch=False)
        with engine.begin() as connection:
            config = migrate.alembic_config()
            config.attributes["connection"] = connection
            verb(config, revision)
        engine.dispose()

    move(command.upgrade, "0003")
    log = "SELECT seq, type, data, created_at FROM event ORDER BY seq"
    fill = (
        "INSERT INTO event (type, data, created_at)"
        " SELECT 'notice', '{}', now() - n * interval '9 days' FROM generate_series(0, 5) n"
    )
    bare_database.execute(fill)
    before = bare_database.execute(log)

    move(command.upgrade, "head")
    assert bare_database.execute(log) == before
    assert bare_database.execute("SELECT count(*) FROM event_default") == [(0,)]
    bare_database.execute(fill)
    numbers = "SELECT max(seq), count(DISTINCT seq), count(DISTINCT id) FROM event"
    assert bare_database.execute(numbers) == [(12, 12, 12)]

    for verb, revision in ((command.downgrade, "0004"), (command.upgrade, "head"), (command.downgrade, "0003")):
        move(verb, revision)
    bare_database.execute(fill)
    assert bare_database.execute(log)[:6] == before
    assert bare_database.execute(numbers) == [(18, 18, 18)]


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
