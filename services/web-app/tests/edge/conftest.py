"""An instance for the whole session, users with every role, and events to send."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.db import users
from app.db.engine import make_engine, session_factory
from app.db.events import load_event, record_event
from app.db.models import Host, HostGroup
from app.db.tasks import create_task
from app.domain.envelope import StoredEvent, task_update_data
from app.domain.permissions import Role
from app.utils.notification_service.publisher import Publisher
from app.utils.passwords import hash_password
from tests.edge.browser import Browser
from tests.edge.process import InstanceProcess, eventually
from tests.services import Database
from tests.waiting import wait_until

PASSWORD = "correct horse battery"
Sessions = sessionmaker[Session]


@dataclass(frozen=True)
class World:
    """What is in the database: two hosts in two groups, and a user for each kind of right."""

    hosts: tuple[int, int]
    tasks: tuple[int, int]
    users: dict[str, int]


@pytest.fixture(scope="session")
def password_hash() -> str:
    return hash_password(PASSWORD)


@pytest.fixture(scope="session")
def web_sessions(session_database: Database) -> Iterator[Sessions]:
    """Sessions with the rights of the web application."""
    engine = make_engine(session_database.settings("web"))
    yield session_factory(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def start_instance(session_database: Database) -> Iterator[Callable[..., InstanceProcess]]:
    """Start an instance with settings of its own; it ends with the session at the latest."""
    started = []

    def start(**settings: Any) -> InstanceProcess:
        process = InstanceProcess(session_database, **settings)
        started.append(process)
        process.wait_ready()
        return process

    yield start
    for process in started:
        process.remove()


@pytest.fixture(scope="session")
def shared_instance(start_instance: Callable[..., InstanceProcess]) -> InstanceProcess:
    return start_instance()


@pytest.fixture
def world(database: Database, web_sessions: Sessions, password_hash: str) -> World:
    """A fresh database with `admin`, `operator-1` and `viewer-1` of group one, `viewer-2` of group two."""
    assert database
    with web_sessions.begin() as session:
        groups = [HostGroup(name=f"group-{number}") for number in (1, 2)]
        hosts = [
            Host(name=f"host-{number}", address="192.0.2.1", groups=[group])
            for number, group in enumerate(groups, start=1)
        ]
        session.add_all([*groups, *hosts])
        session.flush()
        tasks = [create_task(session, name=f"Scan {host.name}", host=host, scan_type="fast") for host in hosts]
        people = {
            "admin": (Role.ADMIN, []),
            "operator-1": (Role.OPERATOR, ["group-1"]),
            "viewer-1": (Role.VIEWER, ["group-1"]),
            "viewer-2": (Role.VIEWER, ["group-2"]),
        }
        made = {
            name: users.create_user(session, name=name, role=role, password_hash=password_hash, groups=names)
            for name, (role, names) in people.items()
        }
        return World(
            (hosts[0].id, hosts[1].id), (tasks[0].id, tasks[1].id), {name: user.id for name, user in made.items()}
        )


@pytest.fixture
def instance(shared_instance: InstanceProcess, world: World, happen: Callable[..., StoredEvent]) -> InstanceProcess:
    """The instance of the session over a fresh database, whose log has been read up to its first event."""
    assert world
    first = str(happen("first").cursor)
    with shared_instance.admin() as admin:
        eventually(lambda: admin.get("/status").json()["cursor"] == first)
    return shared_instance


@pytest.fixture
def sign_in(instance: InstanceProcess) -> Callable[..., Browser]:
    """Sign in as one of the world's users."""

    def sign_in_as(name: str, at: InstanceProcess | None = None) -> Browser:
        browser = Browser(at or instance)
        assert browser.login(name, PASSWORD).status_code == 200
        return browser

    return sign_in_as


@pytest.fixture
def happen(web_sessions: Sessions, session_database: Database) -> Callable[..., StoredEvent]:
    """Store an event of a host (or of none) and publish it: `happen("name", host_id)`."""
    publisher = Publisher(session_database.settings("web"))

    def store(task_name: str, host_id: int | None = None, *, publish: bool = True) -> StoredEvent:
        data = task_update_data(0, 1, "success", task_name, {}, datetime.now(UTC))
        with web_sessions.begin() as session:
            event = record_event(session, "task_update", host_id, data)
        with web_sessions() as session:
            stored = load_event(session, event.id)
        if publish:
            wait_until(lambda: publisher.publish(stored), what="Redis, in the time that it is given")
        return stored

    return store
