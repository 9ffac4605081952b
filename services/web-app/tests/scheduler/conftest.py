"""Schedulers in threads and in processes of their own, tasks, and a Redis to be killed."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.config import Settings
from app.log import configure_logging
from app.scheduler.service import Clock, Scheduler
from app.scheduler.work import database_now
from app.tasks.celery_app import make_celery
from tests.conftest import SettingsMaker
from tests.redis_server import OwnRedis
from tests.waiting import wait_until

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
        return make_settings("scheduler", **({"scheduler_tick": 0.1, "lease_seconds": 1} | more))

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
        thread.join(15)
        wait_until(lambda: not thread.is_alive(), 1)
