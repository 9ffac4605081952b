"""Jobs are queued while the primary dies: the scheduler sends them to the next one, and workers find it."""

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis, RedisError

from app.config import Settings
from app.utils.notification_service.publisher import Publisher
from app.utils.redis_client import explain, make_async_redis, make_redis
from tests.conftest import Sessions, SettingsMaker
from tests.db.rows import queue_run
from tests.executor_double import API_KEY, ExecutorDouble
from tests.scheduler.conftest import scheduling
from tests.scheduler.test_chain import told
from tests.scheduler.worker import Worker
from tests.sentinel import PASSWORD, SENTINEL_PASSWORD, Sentinels
from tests.services import Database
from tests.utils.test_publisher import EVENT
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# The worker lives on in all of these tests, so its lease must not end on a busy machine.
PATIENT: dict[str, Any] = {"lease_seconds": 60, "heartbeat_seconds": 5}


@pytest.fixture
def sentinels() -> Iterator[Sentinels]:
    with Sentinels() as trio:
        yield trio


@pytest.fixture
def worker(database: Database, sentinels: Sentinels, executor: ExecutorDouble) -> Iterator[Callable[[], Worker]]:
    """Start a worker that asks the Sentinels."""
    workers: list[Worker] = []

    def start() -> Worker:
        environment = database.environment(
            "worker",
            **sentinels.settings,
            executor_socket=str(executor.socket_path),
            executor_api_key=API_KEY,
            **PATIENT,
        )
        workers.append(Worker(executor.socket_path.parent / "worker.log", environment))
        return workers[-1]

    yield start
    for one in workers:
        one.kill()


def waiting(redis: Redis) -> int:
    with redis:
        return int(redis.llen("scan.default"))


def test_jobs_outlive_the_primary_they_wait_in(
    sessions_as: Callable[..., Sessions],
    scheduler_settings: Callable[..., Settings],
    sentinels: Sentinels,
    executor: ExecutorDouble,
    worker: Callable[[], Worker],
) -> None:
    web = sessions_as("web")
    with scheduling(scheduler_settings(**sentinels.settings, **PATIENT)):
        for host in ("vuls-target-1", "vuls-target-2"):
            queue_run(web, host)
        first = sentinels.primary()
        wait_until(lambda: waiting(sentinels.redis(first)) >= 2, 60, "both jobs in the first primary")
        sentinels.signal(f"redis-{first}", signal.SIGKILL)
        sentinels.wait_for_another(first)
        process = worker()
        process.wait_until_ready()
        wait_until(lambda: told(web).count("success") == 2, 120, f"both scans: {process.log[-2000:]}")
        # What was primary comes back as a replica, and a worker that is connected goes along with the next failover.
        sentinels.start_redis(first)
        sentinels.wait_for_role(first, "slave")
        second = sentinels.primary()
        sentinels.signal(f"redis-{second}", signal.SIGSTOP)
        queue_run(web, "vuls-target-3")
        began = time.monotonic()
        wait_until(lambda: told(web).count("success") == 3, 120, f"the third scan: {process.log[-2000:]}")
        assert time.monotonic() - began < 100
        sentinels.signal(f"redis-{second}", signal.SIGCONT)
        sentinels.wait_for_role(second, "slave")
    assert len(executor.jobs) == 3
    assert told(web).count("failed") == 0
    for secret in (PASSWORD, SENTINEL_PASSWORD, API_KEY):
        assert secret not in process.log


def test_without_a_quorum_everything_waits_and_says_why(
    sessions_as: Callable[..., Sessions],
    scheduler_settings: Callable[..., Settings],
    sentinels: Sentinels,
    executor: ExecutorDouble,
    worker: Callable[[], Worker],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert executor
    web = sessions_as("web")
    settings = scheduler_settings(**sentinels.settings, **PATIENT)
    primary = sentinels.primary()
    for name in ("sentinel-1", "sentinel-2", f"redis-{primary}"):
        sentinels.signal(name, signal.SIGKILL)
    wait_until(lambda: "s_down" in sentinels.state(0).get("flags", ""), what="the last Sentinel's doubt")
    with scheduling(settings):
        queue_run(web)
        assert Publisher(settings).publish(EVENT) is False
        assert "no Sentinel names a primary" in caplog.text
        assert told(web) == ["queued"]
        process = worker()
        wait_until(lambda: "no Sentinel names a primary" in process.log, 90, "the worker's word")
        for number in (1, 2):
            sentinels.start_sentinel(number)
        wait_until(lambda: told(web)[-1:] == ["success"], 120, "the scan, once there is a quorum again")


async def test_a_wrong_password_of_sentinel_is_named(sentinels: Sentinels, make_settings: SettingsMaker) -> None:
    settings = make_settings("web", **(sentinels.settings | {"redis_sentinel_password": "wrong-one"}))
    with pytest.raises(RedisError) as refused, make_redis(settings) as client:
        client.ping()
    assert "Sentinel refuses the user or the password" in explain(refused.value)
    assert "wrong-one" not in explain(refused.value)
    with pytest.raises(RedisError) as also_refused:
        async with make_async_redis(settings) as other:
            await other.ping()
    assert "Sentinel refuses the user or the password" in explain(also_refused.value)


async def test_a_wrong_password_of_redis_is_named_apart(sentinels: Sentinels, make_settings: SettingsMaker) -> None:
    settings = make_settings("web", **(sentinels.settings | {"redis_password": "wrong-one"}))
    with pytest.raises(RedisError) as refused, make_redis(settings) as client:
        client.ping()
    assert "Redis refuses the user or the password" in explain(refused.value)


def test_a_certificate_of_another_ca_is_refused(sentinels: Sentinels, make_settings: SettingsMaker) -> None:
    settings = make_settings("web", **(sentinels.settings | {"redis_ca": None}))
    with pytest.raises(RedisError), make_redis(settings) as client:
        client.ping()
