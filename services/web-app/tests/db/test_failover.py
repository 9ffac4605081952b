"""With several hosts, all that uses the database follows a promotion, and nothing goes back to the old primary."""

import asyncio
import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from typer.testing import CliRunner, Result

from app.cli import cli
from app.config import Component, Settings, get_settings
from app.db import migrate, timeline
from app.db.engine import make_async_engine, make_engine, session_factory
from app.db.events import head, record_event
from app.db.log_tail import LogTail
from app.domain.permissions import Access, Role
from app.realtime.replay import ResyncRequiredError, replay
from app.scheduler.leadership import Leadership
from tests.edge.forwarder import Forwarder
from tests.services import Database, create_database, required

pytestmark = pytest.mark.integration
Run = Callable[..., Result]
EVERYTHING = Access(1, "admin", Role.ADMIN, None)
# Clusters beside the one that all tests share, because these are promoted. Their commits are synchronous: what is still
# in the buffers of the WAL would not reach the replica, and `_CATCH_UP` does not see it.
_MAKE = """
cd /
version="$(ls /etc/postgresql)"
for name in one two; do
    pg_dropcluster --stop "$version" "$name" 2>/dev/null || true
    rm -rf "/var/lib/postgresql/$version/$name"
done
cat >/tmp/twin.conf <<'CONF'
listen_addresses = '*'
fsync = off
shared_buffers = 16MB
CONF
pg_createcluster --locale C.UTF-8 --port 5441 "$version" one >/dev/null
cp /tmp/twin.conf "/etc/postgresql/$version/one/conf.d/"
printf 'host all all all scram-sha-256\\n' >>"/etc/postgresql/$version/one/pg_hba.conf"
pg_ctlcluster "$version" one start
su postgres -c 'psql -XqAtp 5441' <<SQL
ALTER ROLE postgres PASSWORD '@password@'
SQL
pg_createcluster --port 5442 "$version" two >/dev/null
rm -r "/var/lib/postgresql/$version/two"
su postgres -c "pg_basebackup -p 5441 --checkpoint fast --write-recovery-conf --pgdata /var/lib/postgresql/$version/two"
cp /tmp/twin.conf "/etc/postgresql/$version/two/conf.d/"
cp "/etc/postgresql/$version/one/pg_hba.conf" "/etc/postgresql/$version/two/pg_hba.conf"
chown postgres "/etc/postgresql/$version/two/pg_hba.conf"
pg_ctlcluster "$version" two start
hostname -I
"""
_DROP = 'cd /; version="$(ls /etc/postgresql)"; for name in one two; do pg_dropcluster --stop "$version" "$name"; done'
_CATCH_UP = """
cd /
lsn="$(su postgres -c "psql -XAtqp 5441 -c 'SELECT pg_current_wal_lsn()'")"
caught_up="SELECT pg_last_wal_replay_lsn() >= '$lsn'"
until su postgres -c "psql -XAtqp 5442 -c \\"$caught_up\\"" | grep -qx t; do sleep 0.05; done
"""
_PROMOTE = "su postgres -c \"psql -XAtqp 5442 -c 'SELECT pg_promote()'\""


def in_container(script: str) -> str:
    """Run a shell script as root where the test services are and return what it printed."""
    line = ["docker", "exec", "--interactive", required("VULS_TEST_SERVICES_CONTAINER"), "sh", "-eu"]
    done = subprocess.run(line, input=script, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@dataclass
class Pair:
    """A primary and its streaming replica, behind addresses of two hosts that can be cut off."""

    database: Database
    one: Forwarder
    two: Forwarder

    def settings(self, component: Component, **more: Any) -> Settings:
        hosts = {"database_host": "127.0.0.1,127.0.0.2", "database_port": self.one.port}
        return self.database.settings(component, **(hosts | more))

    def promote(self) -> None:
        """Make the second the primary; the first runs on and knows nothing of it."""
        in_container(_CATCH_UP)
        self.one.cut()
        in_container(_PROMOTE)


@pytest.fixture
def vulsctl(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a verb with the rights of a component."""

    def run(pair: Pair, component: Component, *arguments: str) -> Result:
        hosts = {"VULS_DATABASE_HOST": "127.0.0.1,127.0.0.2", "VULS_DATABASE_PORT": str(pair.one.port)}
        for name, value in (pair.database.environment(component) | hosts).items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        return CliRunner().invoke(cli, arguments)

    yield run
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture
def pair() -> Iterator[Pair]:
    password = secrets.token_hex(12)
    address = in_container(_MAKE.replace("@password@", password)).split()[-1]
    one = Forwarder(address, 5441)
    two = Forwarder(address, 5442, at=("127.0.0.2", one.port))
    database = create_database(f"postgresql://postgres:{password}@{address}:5441/postgres", migrated=False)
    together = Pair(database, one, two)
    migrate.upgrade(together.settings("cli"))
    timeline.forget()
    yield together
    timeline.forget()
    one.cut()
    two.cut()
    in_container(_DROP)


def write(settings: Settings, number: int) -> None:
    """Tell an event over connections of its own, as a process that starts does."""
    engine = make_engine(settings)
    try:
        with session_factory(engine).begin() as session:
            record_event(session, "notice", None, {"number": number})
    finally:
        engine.dispose()


def test_every_user_of_the_database_follows_a_promotion_and_the_epoch_changes(pair: Pair, vulsctl: Run) -> None:
    web = pair.settings("web")
    engine = make_engine(web)
    sessions = session_factory(engine)
    write(web, 1)
    with sessions() as session:
        old = head(session)
    tail = LogTail(web)
    with asyncio.Runner() as loop, Leadership(pair.settings("scheduler")) as leader:
        assert leader.hold()
        assert loop.run(tail.head()) == old

        pair.promote()

        # Pages and workers: the pool finds its connections dead and makes new ones.
        with sessions() as session, pytest.raises(ResyncRequiredError, match="other_epoch"):
            replay(session, EVERYTHING, old, 100)
        # The feed's own connection.
        with pytest.raises(psycopg.Error):
            loop.run(tail.head())
        assert loop.run(tail.head()).epoch != old.epoch
        # An asynchronous engine.
        asynchronous = make_async_engine(web)

        async def ask() -> object:
            async with asynchronous.connect() as connection:
                answer = await connection.execute(text("SELECT pg_is_in_recovery()"))
            await asynchronous.dispose()
            return answer.scalar_one()

        assert loop.run(ask()) is False
        # The scheduler's lock was the old primary's; it is taken anew.
        with pytest.raises(SQLAlchemyError):
            leader.hold()
        leader.release()
        assert leader.hold()
        loop.run(tail.close())
    engine.dispose()
    # The owner's migrations and vulsctl.
    assert migrate.upgrade(pair.settings("cli")).changed is False
    done = vulsctl(pair, "cli", "db", "new-epoch", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["before"] != old.epoch


def test_an_old_primary_that_comes_back_gets_no_writes_of_a_process_that_was_on_the_new_one(pair: Pair) -> None:
    web = pair.settings("web")
    write(web, 1)
    pair.promote()
    write(web, 2)

    pair.one.mend()  # it is the first that is asked, it takes writes, and it knows of no other

    with pytest.raises(OperationalError, match="timeline 2 has begun on another one: it is an old primary"):
        write(web, 3)
    tail = LogTail(web)
    with asyncio.Runner() as loop, pytest.raises(timeline.StaleServerError):
        loop.run(tail.head())
    with Leadership(pair.settings("scheduler")) as leader, pytest.raises(OperationalError, match="old primary"):
        leader.hold()
    assert not pair.database.execute("SELECT FROM event WHERE data->>'number' = '3'")


def test_a_replica_takes_no_connection_and_vulsctl_says_why(pair: Pair, vulsctl: Run) -> None:
    pair.one.cut()
    done = vulsctl(pair, "web", "user", "list")
    assert done.exit_code != 0
    assert "127.0.0.1,127.0.0.2 does not answer" in done.output
    assert "none of them takes writes" in done.output
