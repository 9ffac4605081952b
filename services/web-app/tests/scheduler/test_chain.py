"""From a click to a stored scan: scheduler, Redis and a Celery worker as processes of their own."""

import signal
from collections.abc import Callable

from app.config import Settings
from app.db.events import read_events
from tests.conftest import Sessions
from tests.db.rows import queue_run
from tests.executor_double import API_KEY, ExecutorDouble
from tests.redis_server import OwnRedis
from tests.scheduler.conftest import WorkerStarter, scheduling
from tests.waiting import wait_until


def told(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return [event.data["status"] for event in read_events(session, 0, 100)[1]]


def test_a_click_ends_in_a_scan_though_redis_dies_in_between(
    sessions_as: Callable[..., Sessions],
    settings: Settings,
    own_redis: OwnRedis,
    executor: ExecutorDouble,
    start_worker: WorkerStarter,
) -> None:
    web = sessions_as("web")
    with scheduling(settings):
        run, _ = queue_run(web)
        wait_until(lambda: own_redis.queue_length("scan.default") >= 1)
        own_redis.signal(signal.SIGKILL)
        own_redis.start()
        worker = start_worker(lease_seconds=60)  # it lives on, so a busy machine must not end its lease
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
    start_worker: WorkerStarter,
) -> None:
    web = sessions_as("web")
    executor.let_end.clear()
    worker = start_worker(lease_seconds=5)
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
        wait_until(lambda: told(web)[-1:] == ["failed"])
    assert told(web) == ["queued", "started", "success", "queued", "started", "failed"]
