"""The documented snippets do what they are documented to do."""

from typing import Any

import pytest
from redis import Redis

from app.config import Settings
from app.db.events import read_events
from app.tasks.scan_tasks import run_vulnerability_scan, send_task_notification
from app.utils.notification_service import NOTIFICATION_CHANNEL
from tests.channel import next_message
from tests.conftest import Sessions


def test_a_notification_by_hand_gets_a_row_an_id_and_a_message(
    worker: Settings, web: Sessions, redis_client: Redis
) -> None:
    assert worker
    with redis_client.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(NOTIFICATION_CHANNEL)
        subscription.get_message(timeout=5)
        sent = send_task_notification(999, 888, "success", "Test Notification", {"test": "data"})
        assert next_message(subscription) == sent
    with web() as session:
        _, (event,) = read_events(session, 0, 10)
    assert (event.host_id, str(event.cursor), event.data) == (None, sent["id"], sent["data"])
    assert sent["data"]["task_run_id"] == 888
    assert sent["data"]["result_data"] == {"test": "data"}


@pytest.mark.parametrize("status", ["", "done", "SUCCESS"])
def test_a_status_outside_the_contract_is_refused(worker: Settings, web: Sessions, status: str) -> None:
    assert worker
    with pytest.raises(ValueError, match="unknown status"):
        send_task_notification(1, 1, status, "x", {})
    with web() as session:
        assert read_events(session, 0, 10)[1] == []


def test_the_task_called_directly_scans_and_returns_the_end(worker: Settings, web: Sessions) -> None:
    assert worker
    assert web
    said: dict[str, Any] = run_vulnerability_scan(host_id=2, scan_type="fast", task_run_id=999)
    assert (said["task_run_id"], said["status"], said["result_data"]["vulnerabilities"]) == (999, "success", 9)


def test_the_task_as_a_job_leaves_an_unknown_run_alone(worker: Settings, web: Sessions) -> None:
    assert worker
    assert run_vulnerability_scan.apply(kwargs={"host_id": 2, "scan_type": "fast", "task_run_id": 999}).get() is None
    with web() as session:
        assert read_events(session, 0, 10)[1] == []
