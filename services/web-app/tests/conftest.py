"""Fixtures for all tests: a database per session, emptied for each test that uses it; Redis emptied likewise."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from app.config import Component, Settings, get_settings
from app.db.engine import make_engine, session_factory
from app.utils.notification_service import publisher
from tests.services import VARIABLES, Database, create_database, drop_database, required

SettingsMaker = Callable[..., Settings]
Sessions = sessionmaker[Session]

# An example that takes long says something of the machine only; what has to be quick measures that itself.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


def pytest_configure() -> None:
    """Lead each process of pytest-xdist to services of its own: tests empty the database, and stop Redis."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        for name in VARIABLES:
            os.environ[name] = os.environ.get(f"{name}_{worker}", "")


@pytest.hookimpl(tryfirst=True)  # before the items are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the real services as an integration test: the fixtures say it, nobody has to remember."""
    for item in items:
        if {"session_database", "bare_database", "redis_client"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def session_database() -> Iterator[Database]:
    """A database with the roles and the schema of a deployment."""
    database = create_database(required("VULS_TEST_DATABASE_URL"))
    yield database
    drop_database(database)


@pytest.fixture
def database(session_database: Database) -> Database:
    """The database of this session without rows."""
    session_database.empty()
    return session_database


@pytest.fixture
def bare_database() -> Iterator[Database]:
    """A database without tables."""
    database = create_database(required("VULS_TEST_DATABASE_URL"), migrated=False)
    yield database
    drop_database(database)


@pytest.fixture
def make_settings(database: Database) -> SettingsMaker:
    """Settings of a component: `make_settings("worker", zone="other")`."""

    def make(component: Component, **more: Any) -> Settings:
        return database.settings(component, **more)

    return make


@pytest.fixture
def sessions_as(make_settings: SettingsMaker) -> Iterator[Callable[..., Sessions]]:
    """Session makers with the rights of a component: `sessions_as("web")`."""
    engines = []

    def make(component: Component, **more: Any) -> Sessions:
        engine = make_engine(make_settings(component, **more))
        engines.append(engine)
        return session_factory(engine)

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def redis_client() -> Iterator[Redis]:
    """The test Redis, emptied, with every right."""
    with Redis.from_url(required("VULS_TEST_REDIS_URL"), decode_responses=True) as client:
        client.flushdb()
        yield client


@pytest.fixture
def process_settings(monkeypatch: pytest.MonkeyPatch, database: Database) -> Iterator[Callable[..., Settings]]:
    """Make this test process a component: what `get_settings()` returns until the test ends."""
    caches = (get_settings, publisher.default_publisher)

    def become(component: Component, **more: Any) -> Settings:
        for name, value in database.environment(component, **more).items():
            monkeypatch.setenv(name, value)
        for cache in caches:
            cache.cache_clear()
        return get_settings()

    yield become
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()
