"""The migrations make what the models say, once, whoever runs them at the same time."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import ProgrammingError

from app.db import migrate
from app.db.engine import make_engine
from app.db.models import Base
from tests.conftest import SettingsMaker
from tests.services import Database


def test_the_migrated_schema_is_that_of_the_models(make_settings: SettingsMaker) -> None:
    engine = make_engine(make_settings("cli"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
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
