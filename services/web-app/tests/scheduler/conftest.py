"""Schedulers in threads and in processes of their own, tasks, and a Redis to be killed."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.config import Settings
from app.log import configure_logging
from app.scheduler.service import Clock, Scheduler
from app.scheduler.work import database_now
from app.tasks.celery_app import make_celery
from tests.conftest import SettingsMaker
from tests.executor_double import API_KEY, ExecutorDouble
from tests.redis_server import OwnRedis
from tests.scheduler.worker import Worker
from tests.services import Database

WorkerStarter = Callable[..., Worker]
SPEED = 20.0  # an hour passes in three minutes, a minute in three seconds


class FastClock:
    """Time that passes `SPEED` times as fast, the same in every process."""

    def __init__(self) -> None:
        self.real_start = time.time()
        self.start = datetime(2026, 3, 1, 10, 0, 30, tzinfo=UTC)

    def __call__(self, _session: Session | None = None) -> datetime:
        return self.start + timedelta(seconds=(time.time() - self.real_start) * SPEED)


def run_scheduler(settings: Settings, clock: Clock) -> None:
    """A process of its own does this until it is killed."""
    configure_logging()
    Scheduler(settings, make_celery(settings), clock).run(threading.Event())


@pytest.fixture
def own_redis() -> Iterator[OwnRedis]:
    with OwnRedis() as redis:
        yield redis


@pytest.fixture
def scheduler_settings(make_settings: SettingsMaker) -> Callable[..., Settings]:
    """Settings of a scheduler that looks often."""

    def make(**more: Any) -> Settings:
        often = {"scheduler_tick": 0.1, "lease_seconds": 1, "heartbeat_seconds": 0.5}
        return make_settings("scheduler", **(often | more))

    return make


@pytest.fixture
def start_process() -> Iterator[Callable[[Settings, Clock], BaseProcess]]:
    """Start schedulers as processes; those alive at the end are killed."""
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []

    def start(settings: Settings, clock: Clock) -> BaseProcess:
        process = context.Process(target=run_scheduler, args=(settings, clock))
        process.start()
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join()


@contextmanager
def scheduling(settings: Settings, clock: Clock = database_now) -> Iterator[threading.Event]:
    """Run a scheduler in a thread until the block ends; yields what stops it."""
    stop = threading.Event()
    scheduler = Scheduler(settings, make_celery(settings), clock)
    thread = threading.Thread(target=scheduler.run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[ExecutorDouble]:
    with ExecutorDouble(tmp_path / "executor.sock") as double:
        yield double


@pytest.fixture
def start_worker(
    database: Database, own_redis: OwnRedis, executor: ExecutorDouble, tmp_path: Path
) -> Iterator[WorkerStarter]:
    """Start workers with short leases; those alive at the end are killed."""
    workers: list[Worker] = []

    def start(**more: Any) -> Worker:
        values = {"lease_seconds": 2, "heartbeat_seconds": 0.5, "redis_port": own_redis.port} | more
        environment = database.environment(
            "worker",
            redis_host=own_redis.host,
            redis_user="default",
            redis_password="",
            executor_socket=str(executor.socket_path),
            executor_api_key=API_KEY,
            **values,
        )
        workers.append(Worker(tmp_path / f"worker-{len(workers)}.log", environment))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def settings(scheduler_settings: Callable[..., Settings], own_redis: OwnRedis) -> Settings:
    """A scheduler's settings that lead to a Redis of the test's own."""
    where = {"redis_host": own_redis.host, "redis_port": own_redis.port, "redis_user": "default", "redis_password": ""}
    return scheduler_settings(**where, lease_seconds=2)
