"""Publishing wakes readers, and never costs the publisher more than two seconds."""

import logging
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.config import Settings
from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent, envelope, task_update_data
from app.utils.notification_service import (
    NOTIFICATION_CHANNEL,
    apublish_task_notification,
    publish_task_notification,
)
from app.utils.notification_service.publisher import Publisher
from tests.channel import next_message
from tests.waiting import wait_until

AT = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = StoredEvent(Cursor("k3f9", 7), "task_update", 1, task_update_data(1, 14, "success", "Scan", {}, AT), AT)


@pytest.fixture
def messages(redis_client: Redis) -> Iterator[Callable[[], dict[str, Any]]]:
    """Subscribe to the channel; each call returns the next message."""
    with redis_client.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(NOTIFICATION_CHANNEL)
        subscription.get_message(timeout=5)

        yield lambda: next_message(subscription)


def test_the_envelope_goes_out_and_the_log_says_so(
    process_settings: Callable[..., Settings], messages: Callable[[], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    process_settings("web")
    with caplog.at_level(logging.INFO):
        assert publish_task_notification(EVENT) is True
    assert messages() == envelope(EVENT)
    assert "Published task notification: success for task_run_id 14" in caplog.messages


async def test_the_asynchronous_twin_does_the_same(
    process_settings: Callable[..., Settings], messages: Callable[[], dict[str, Any]]
) -> None:
    process_settings("web")
    assert await apublish_task_notification(EVENT) is True
    assert messages() == envelope(EVENT)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are taken and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def seconds_of_contexts(number: int) -> float:
    """What so many contexts of TLS take: redis-py makes one a connection, which takes a busy machine long."""
    started = time.monotonic()
    for _ in range(number):
        ssl.create_default_context()
    return time.monotonic() - started


@pytest.mark.parametrize("port", ["silent_port", "closed_port"])
@pytest.mark.parametrize("tls", [False, True])
def test_a_dead_redis_is_given_up_within_two_seconds(
    port: str, tls: bool, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(redis_host="127.0.0.1", redis_port=request.getfixturevalue(port), redis_tls=tls)
    own = seconds_of_contexts(1) if tls else 0.0
    started = time.monotonic()
    assert Publisher(settings).publish(EVENT) is False
    assert time.monotonic() - started < 2 + own
    assert "Could not publish event k3f9-7" in caplog.text


@pytest.mark.parametrize("port", ["silent_port", "closed_port"])
@pytest.mark.parametrize("tls", [False, True])
def test_dead_sentinels_are_given_up_within_two_seconds(
    port: str, tls: bool, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    # The one authority of a deployment: to load all those of the system takes a busy machine long.
    authority = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    authority += ["-subj", "/CN=test", "-keyout", str(tmp_path / "ca.key"), "-out", str(tmp_path / "ca.crt")]
    subprocess.run(authority, check=True, capture_output=True, timeout=30)
    sentinels = ",".join(3 * [f"127.0.0.1:{request.getfixturevalue(port)}"])
    settings = Settings(redis_sentinels=sentinels, redis_tls=tls, redis_ca=str(tmp_path / "ca.crt"))
    own = seconds_of_contexts(3) if tls else 0.0
    started = time.monotonic()
    assert Publisher(settings).publish(EVENT) is False
    assert time.monotonic() - started < 2 + own
    assert "Could not publish event k3f9-7 (no Sentinel names a primary" in caplog.text


def test_a_publisher_recovers_with_redis(redis_client: Redis, make_settings: Callable[..., Settings]) -> None:
    publisher = Publisher(make_settings("web"))
    assert publisher.publish(EVENT)
    redis_client.client_kill_filter(_type="normal", skipme=True)
    wait_until(lambda: publisher.publish(EVENT))


def test_no_password_is_logged(caplog: pytest.LogCaptureFixture, closed_port: int) -> None:
    settings = Settings(redis_host="127.0.0.1", redis_port=closed_port, redis_tls=False, redis_password="hush-hush")
    with caplog.at_level(logging.DEBUG):
        Publisher(settings).publish(EVENT)
    assert "hush-hush" not in caplog.text
    assert "hush-hush" not in repr(settings)


def test_what_cannot_be_encoded_is_left_to_the_log(
    process_settings: Callable[..., Settings], messages: Callable[[], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """A worker's role can store more than our own code does."""
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"deeper": deep}
    process_settings("web")
    assert publish_task_notification(StoredEvent(Cursor("k3f9", 8), "task_update", 1, deep, AT)) is False
    assert "Could not publish event k3f9-8" in caplog.text
    bare = StoredEvent(Cursor("k3f9", 9), "task_update", 1, {}, AT)
    assert publish_task_notification(bare) is True
    assert messages() == envelope(bare)
