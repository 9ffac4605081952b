"""The migrations make what the models say, once, whoever runs them at the same time."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
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
    assert migrate.upgrade(make_settings("cli")) is False


def test_of_two_upgrades_at_once_one_does_the_work(bare_database: Database) -> None:
    settings = bare_database.settings("cli")
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(migrate.upgrade, [settings] * 2)) == [False, True]


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
