"""The thread that sends jobs: whatever goes wrong once, it goes on."""

from collections.abc import Callable
from typing import Any

import pytest

from app.config import Settings
from app.db.runs import give_back
from app.scheduler.dispatcher import Dispatcher
from app.tasks.celery_app import make_celery
from tests.conftest import Sessions
from tests.db.rows import queue_run
from tests.redis_server import OwnRedis
from tests.waiting import wait_until


def test_an_error_that_nobody_foresaw_does_not_end_the_sending_of_jobs(
    sessions_as: Callable[..., Sessions],
    scheduler_settings: Callable[..., Settings],
    own_redis: OwnRedis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = scheduler_settings(redis_host=own_redis.host, redis_port=own_redis.port, resend_after=3600)
    celery = make_celery(settings)
    send, failures = celery.send_task, [ValueError("once")]

    def stumble(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return send(*arguments, **options)

    monkeypatch.setattr(celery, "send_task", stumble)
    queue_run(sessions_as("web"))
    dispatcher = Dispatcher(settings, sessions_as("scheduler"), celery)
    dispatcher.start()
    try:
        dispatcher.switch(on=True)
        wait_until(lambda: own_redis.queue_length("scan.default") == 1)
    finally:
        dispatcher.stop()
    assert "nobody foresaw" in caplog.text


def test_a_job_that_a_worker_gives_back_before_the_sending_is_over_is_sent_again(
    sessions_as: Callable[..., Sessions],
    scheduler_settings: Callable[..., Settings],
    own_redis: OwnRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = scheduler_settings(redis_host=own_redis.host, redis_port=own_redis.port, resend_after=3600)
    celery, worker = make_celery(settings), sessions_as("worker")
    sent: list[int] = []

    def refused_at_once(*_: Any, kwargs: dict[str, int], **__: Any) -> None:
        sent.append(kwargs["task_run_id"])
        if len(sent) == 1:
            with worker.begin() as session:
                give_back(session, sent[0])

    monkeypatch.setattr(celery, "send_task", refused_at_once)
    run, _ = queue_run(sessions_as("web"))
    dispatcher = Dispatcher(settings, sessions_as("scheduler"), celery)
    dispatcher.start()
    try:
        dispatcher.switch(on=True)
        wait_until(lambda: len(sent) == 2)
    finally:
        dispatcher.stop()
    assert sent == [run.id, run.id]
