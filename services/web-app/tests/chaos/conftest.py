"""Two instances on a Redis and a PostgreSQL that may be stopped, and users with different rights."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.config import Settings
from app.db import tokens, users
from app.db.engine import make_engine, session_factory
from app.db.events import head, load_event, record_event
from app.domain.envelope import TASK_UPDATE, task_update_data
from app.domain.permissions import Access, Role
from app.utils.notification_service.publisher import Publisher
from app.utils.passwords import new_token, secret_hash
from tests.chaos.faults import Fleet, Postgres
from tests.chaos.follower import Choose, Follower
from tests.chaos.ledger import Entry, check
from tests.edge.conftest import World, happen, password_hash, start_instance, world
from tests.edge.process import InstanceProcess
from tests.redis_server import OwnRedis
from tests.services import Database

__all__ = ["happen", "password_hash", "start_instance", "world"]
Sessions = sessionmaker[Session]
GENEROUS = {
    "connections_per_user": 20_000,
    "connections_per_address": 20_000,
    "replay_limit": 20_000,
    "ring_size": 20_000,
    "digest_rate": 50,
}


@pytest.fixture(scope="session")
def web_sessions(session_database: Database) -> Iterator[Sessions]:
    """Sessions with the rights of the web application, in a database that keeps what it has committed.

    The test services commit without waiting for the log, for speed: stopped at once, they would lose what clients know.
    """
    session_database.execute(f"ALTER DATABASE {session_database.name} SET synchronous_commit = on")
    engine = make_engine(session_database.settings("web"))
    yield session_factory(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def own_redis() -> Iterator[OwnRedis]:
    with OwnRedis() as redis:
        yield redis


@pytest.fixture(scope="session")
def redis_settings(own_redis: OwnRedis) -> dict[str, Any]:
    return {
        "redis_host": own_redis.host,
        "redis_port": own_redis.port,
        "redis_user": "default",
        "redis_password": "",
    }


@pytest.fixture(scope="session")
def postgres() -> Postgres:
    return Postgres()


@pytest.fixture
def start_fleet(
    start_instance: Callable[..., InstanceProcess], redis_settings: dict[str, Any], world: World
) -> Iterator[Callable[..., Fleet]]:
    """Start two instances with settings of their own; they end with the test."""
    assert world
    fleets = []

    def start(count: int = 2, **more: Any) -> Fleet:
        values = GENEROUS | redis_settings | more
        fleets.append(Fleet(lambda number: start_instance(**values, instance=f"test:{number + 1}"), count))
        return fleets[-1]

    yield start
    for fleet in fleets:
        for instance in fleet.instances:
            if instance.process.poll() is None:
                instance.stop()


@dataclass(frozen=True)
class Person:
    """A user, what it may see, and its bearer token."""

    access: Access
    token: str
    token_id: int

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@pytest.fixture
def people(world: World, web_sessions: Sessions) -> dict[str, Person]:
    """A token for every user of the world and for one who sees both groups."""
    with web_sessions.begin() as session:
        users.create_user(
            session, name="viewer-both", role=Role.VIEWER, password_hash=None, groups=["group-1", "group-2"]
        )
        found = {}
        for name in (*world.users, "viewer-both"):
            user = users.find_user(session, name)
            assert user is not None
            access = users.load_access(session, user.id)
            assert access is not None
            secret = new_token()
            made = tokens.create_token(
                session,
                user_id=user.id,
                name="chaos",
                prefix=secret[:8],
                token_hash=secret_hash(secret),
                expires_at=None,
            )
            found[name] = Person(access, secret, made.id)
        return found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Show a line at once, whatever pytest captures."""

    def show(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="", flush=True)  # noqa: T201

    return show


@dataclass(frozen=True)
class Stage:
    """What a test of the whole needs: the database with hosts and people, and who publishes events of them."""

    database: Database
    world: World
    people: dict[str, Person]
    sessions: Sessions
    settings: Settings
    publisher: Publisher
    say: Callable[[str], None]
    committed: dict[float, float] = field(default_factory=dict)  # time.monotonic() after it, by what happen returns

    def newest(self) -> str:
        """Return the newest cursor of the log."""
        with self.sessions() as session:
            return str(head(session))

    def follower(self, name: str, seed: str, choose: Choose) -> Follower:
        """Return a client of this user that begins at the newest cursor."""
        return Follower(name, self.people[name].headers, self.newest(), seed, choose)

    def happen(self, host_id: int | None, status: str = "failed", size: int = 10) -> float:
        """Store an event and publish it; its name, which is returned, is the time.monotonic() before the commit."""
        with self.sessions() as session:
            result = {"reason": {"code": "chaos", "sentence": "x" * size}}
            at = time.monotonic()
            data = task_update_data(1, 1, status, str(at), result, datetime.now(UTC))
            event = record_event(session, TASK_UPDATE, host_id, data)
            session.commit()
            self.committed[at] = time.monotonic()
            stored = load_event(session, event.id)
        self.publisher.publish(stored)
        return at

    @contextmanager
    def happening(self, host_id: int | None, every: float, size: int = 10) -> Iterator[list[float]]:
        """Let an event happen every so many seconds while inside; yields their times as they come."""
        over, times = threading.Event(), list[float]()

        def go_on() -> None:
            while not over.wait(every):
                times.append(self.happen(host_id, size=size))

        with ThreadPoolExecutor(1) as pool:
            going = pool.submit(go_on)
            try:
                yield times
            finally:
                over.set()
                going.result()

    def judge(self, followers: Sequence[Follower], log: Sequence[Entry], seed: str) -> None:
        """Fail unless every client was told every event that it may see, once and in order."""
        wrong = []
        for number, follower in enumerate(followers):
            found = check(follower, log, self.people[follower.name].access.may_see)
            if found:
                lines = "\n".join([*found[:5], *follower.history])
                wrong.append(f"client {number} ({follower.name}), seed {seed}:\n{lines}")
        assert not wrong, f"{len(wrong)} of {len(followers)} clients\n" + "\n\n".join(wrong[:3])


@pytest.fixture
def stage(
    session_database: Database,
    world: World,
    people: dict[str, Person],
    web_sessions: Sessions,
    redis_settings: dict[str, Any],
    say: Callable[[str], None],
) -> Stage:
    settings = session_database.settings("web", **redis_settings)
    return Stage(session_database, world, people, web_sessions, settings, Publisher(settings), say)
