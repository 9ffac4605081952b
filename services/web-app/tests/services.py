"""The real PostgreSQL and Redis that the tests use, and settings that lead there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg import sql

from app.config import Component, Settings
from app.db import migrate

_GROUPS = ("vuls_web_access", "vuls_scheduler_access", "vuls_worker_access")
_ROLES = {
    "vuls_owner": None,
    "vuls_web": "vuls_web_access",
    "vuls_scheduler": "vuls_scheduler_access",
    "vuls_worker_default": "vuls_worker_access",
    "vuls_worker_other": "vuls_worker_access",
}
_COMPONENT_ROLES: dict[Component, str] = {
    "web": "vuls_web",
    "scheduler": "vuls_scheduler",
    "worker": "vuls_worker_{zone}",
    "cli": "vuls_owner",
}
_TABLES = (  # in an order that foreign keys allow
    "scan_host", "host_finding", "finding", "scan", "event", "run", "scheduled_task", "host_group_member", "user_group",
    "user_session", "api_token", "login_failure", "host", "app_user", "host_group",
)  # fmt: skip
PASSWORD = "only-for-tests"
# That scripts/test_services.sh prints.
VARIABLES = ("VULS_TEST_DATABASE_URL", "VULS_TEST_REDIS_URL", "VULS_TEST_SERVICES_CONTAINER")


def required(variable: str) -> str:
    """Return an environment variable that names a test service, or fail with what to do."""
    value = os.environ.get(variable)
    if not value:
        pytest.fail(f'{variable} is not set: eval "$(scripts/test_services.sh start)"', pytrace=False)
    return value


@dataclass(frozen=True)
class Database:
    """A migrated database of this test session, with the roles of a deployment."""

    url: str  # of a superuser
    name: str

    @property
    def admin_url(self) -> str:
        """A superuser's connection string for this database."""
        return urlsplit(self.url)._replace(path=f"/{self.name}").geturl()

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement as superuser and return its rows."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def away(self) -> Iterator[None]:
        """Make the database unreachable."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS false'.encode())
            try:
                self._end_connections(connection)
                yield
            finally:
                connection.execute(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS true'.encode())

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Have it answer and take no changes, as a standby does, or a primary that was made one."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{self.name}" SET default_transaction_read_only = on'.encode())
            try:
                self._end_connections(connection)
                yield
            finally:
                connection.execute(f'ALTER DATABASE "{self.name}" RESET default_transaction_read_only'.encode())

    def _end_connections(self, connection: psycopg.Connection) -> None:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self.name])

    def empty(self) -> None:
        """Delete all rows; the epoch stays."""
        self.execute("; ".join(f"DELETE FROM {table}" for table in _TABLES))  # faster than TRUNCATE on few rows

    def settings(self, component: Component, **more: Any) -> Settings:
        """Return the settings of a component that uses this database and the test Redis."""
        database, redis = urlsplit(self.url), urlsplit(required("VULS_TEST_REDIS_URL"))
        zone = more.get("zone", "default")
        values: dict[str, Any] = {
            "component": component,
            "database_host": database.hostname,
            "database_port": database.port or 5432,
            "database_name": self.name,
            "database_user": _COMPONENT_ROLES[component].format(zone=zone),
            "database_password": PASSWORD,
            "database_sslmode": "disable",
            "redis_host": redis.hostname,
            "redis_port": redis.port or 6379,
            "redis_user": redis.username or "default",
            "redis_password": unquote(redis.password or ""),
            "redis_database": int(redis.path.strip("/") or 0),
            "redis_tls": False,
        }
        return Settings(**(values | more))

    def environment(self, component: Component, **more: Any) -> dict[str, str]:
        """Return the same settings as environment variables, for a process of its own (secrets in plain: a test)."""
        settings = self.settings(component, **more)
        values = settings.model_dump(exclude_none=True)
        values |= {
            name: getattr(settings, name).get_secret_value()
            for name in ("database_password", "redis_password", "redis_sentinel_password", "executor_api_key")
        }
        values["redis_sentinels"] = ",".join(settings.redis_sentinels)
        values["allowed_origins"] = ",".join(settings.allowed_origins)
        return {f"VULS_{name.upper()}": str(value) for name, value in values.items()}


def create_database(url: str, *, migrated: bool = True) -> Database:
    """Create the roles (shared by the cluster) and a database of a fresh name."""
    database = Database(url, f"vuls_test_{secrets.token_hex(4)}")
    with psycopg.connect(url, autocommit=True) as connection:
        # Other sessions may be creating the same roles in this cluster.
        connection.execute("SELECT pg_advisory_lock(4713)")
        known = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
        for group in _GROUPS:
            if group not in known:
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(group)))
        for role, membership in _ROLES.items():
            if role not in known:
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(PASSWORD))
                )
            if membership:
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(membership), sql.Identifier(role)))
        name = sql.Identifier(database.name)
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER vuls_owner TEMPLATE template0").format(name))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                name, sql.SQL(", ").join(sql.Identifier(role) for role in _ROLES)
            )
        )
        connection.execute("SELECT pg_advisory_unlock(4713)")
    database.execute("ALTER SCHEMA public OWNER TO vuls_owner")
    if migrated:
        migrate.upgrade(database.settings("cli"))
    return database


def drop_database(database: Database) -> None:
    """Drop it, whoever is still connected."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))
