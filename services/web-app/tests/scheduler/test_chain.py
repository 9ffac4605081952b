"""From a click to a stored scan: scheduler, Redis and a Celery worker as processes of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.config import Settings
from app.db.events import read_events
from tests.conftest import Sessions
from tests.db.rows import queue_run
from tests.executor_double import API_KEY, ExecutorDouble
from tests.redis_server import OwnRedis
from tests.scheduler.conftest import scheduling
from tests.services import Database
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
WORKER = [sys.executable, "-m", "celery", "-A", "app.tasks.celery_app", "worker", "-Q", "scan.default", "-c", "1"]
WORKER += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
BOOT = 90  # seconds that a worker may take to start on a busy machine


class Worker:
    """A Celery worker of zone default, with its log."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                WORKER, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT, process_group=0
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        wait_until(lambda: " ready." in self.log, BOOT, f"the worker's start: {self.log[-2000:]}")

    def kill(self) -> None:
        """End it with its children, without a chance to say anything."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[ExecutorDouble]:
    with ExecutorDouble(tmp_path / "executor.sock") as double:
        yield double


@pytest.fixture
def start_worker(
    database: Database, own_redis: OwnRedis, executor: ExecutorDouble, tmp_path: Path
) -> Iterator[Callable[[], Worker]]:
    workers: list[Worker] = []

    def start() -> Worker:
        environment = database.environment(
            "worker",
            redis_host=own_redis.host,
            redis_port=own_redis.port,
            redis_user="default",
            redis_password="",
            executor_socket=str(executor.socket_path),
            executor_api_key=API_KEY,
            lease_seconds=2,
            heartbeat_seconds=0.5,
        )
        workers.append(Worker(tmp_path / f"worker-{len(workers)}.log", environment))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.kill()


@pytest.fixture
def settings(scheduler_settings: Callable[..., Settings], own_redis: OwnRedis) -> Settings:
    where = {"redis_host": own_redis.host, "redis_port": own_redis.port, "redis_user": "default", "redis_password": ""}
    return scheduler_settings(**where, lease_seconds=2)


def told(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return [event.data["status"] for event in read_events(session, 0, 100)[1]]


def test_a_click_ends_in_a_scan_though_redis_dies_in_between(
    sessions_as: Callable[..., Sessions],
    settings: Settings,
    own_redis: OwnRedis,
    executor: ExecutorDouble,
    start_worker: Callable[[], Worker],
) -> None:
    web = sessions_as("web")
    with scheduling(settings):
        run, _ = queue_run(web)
        wait_until(lambda: own_redis.queue_length("scan.default") >= 1)
        own_redis.signal(signal.SIGKILL)
        own_redis.start()
        worker = start_worker()
        worker.wait_until_ready()
        wait_until(lambda: told(web)[-1:] == ["success"], 30)
        published = f"Published task notification: success for task_run_id {run.id}"
        wait_until(lambda: published in worker.log)  # after the commit: not before the next line takes Redis away
        wait_until(lambda: own_redis.queue_length("scan.default") == 0)
        # A worker that is connected when Redis dies comes back by itself.
        own_redis.signal(signal.SIGKILL)
        own_redis.start()
        queue_run(web, "vuls-target-2")
        wait_until(lambda: len(told(web)) == 6, 60)
    assert told(web) == ["queued", "started", "success"] * 2
    assert len(executor.jobs) == 2
    assert API_KEY not in worker.log


def test_a_scan_outlives_redis_and_a_killed_workers_run_is_ended(
    sessions_as: Callable[..., Sessions],
    settings: Settings,
    own_redis: OwnRedis,
    executor: ExecutorDouble,
    start_worker: Callable[[], Worker],
) -> None:
    web = sessions_as("web")
    executor.let_end.clear()
    worker = start_worker()
    with scheduling(settings):
        worker.wait_until_ready()
        queue_run(web)
        assert executor.scanning.wait(30)
        own_redis.signal(signal.SIGKILL)
        executor.let_end.set()
        wait_until(lambda: told(web)[-1:] == ["success"], 30)
        wait_until(lambda: "Couldn't ack" in worker.log, 30)
        assert "Could not publish" in worker.log
        own_redis.start()
        executor.scanning.clear()
        executor.let_end.clear()
        queue_run(web, "vuls-target-2")
        assert executor.scanning.wait(60)
        worker.kill()
        wait_until(lambda: told(web)[-1:] == ["failed"], 15)
    assert told(web) == ["queued", "started", "success", "queued", "started", "failed"]
