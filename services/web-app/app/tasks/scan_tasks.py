"""The scan task, and the notification that can be sent by hand."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.config import get_settings
from app.db.events import load_event, record_event
from app.domain.envelope import TASK_UPDATE, envelope, task_update_data
from app.domain.status import RUN_STATUSES
from app.tasks.celery_app import SCAN_TASK, celery
from app.tasks.process import sessions
from app.tasks.scan_run import ScanRunner
from app.utils.notification_service.publisher import publish_task_notification


def send_task_notification(
    task_id: int, task_run_id: int, status: str, task_name: str, result_data: Mapping[str, Any]
) -> dict[str, Any]:
    """Store and publish a `task_update` that belongs to no host, and return it as it travels.

    The two numbers need not exist. Users who may see all hosts get it.

    Raises:
        ValueError: `status` is none of the contract's, or the rest does not fit the message (BadEventError).
    """
    if status not in RUN_STATUSES:
        raise ValueError(f"unknown status {status!r}: use one of {', '.join(sorted(RUN_STATUSES))}")
    data = task_update_data(task_id, task_run_id, status, task_name, result_data, datetime.now(UTC))
    with sessions().begin() as session:
        event = record_event(session, TASK_UPDATE, None, data)
    with sessions()() as session:
        stored = load_event(session, event.id)
    publish_task_notification(stored)
    return envelope(stored)


@celery.task(bind=True, name=SCAN_TASK)  # type: ignore[untyped-decorator]  # Celery has no types
def run_vulnerability_scan(self: Any, host_id: int, scan_type: str, task_run_id: int) -> dict[str, Any] | None:  # noqa: ANN401
    """Scan a host for a run and return the six fields of its end.

    As a job it does what the run's row says and leaves a run alone that is finished or in other hands (None). Called
    directly it blocks: an unknown run id becomes an ad-hoc run with that id, a finished run gets another attempt.
    """
    runner = ScanRunner(get_settings(), sessions())
    if self.request.called_directly:
        return runner.run_now(host_id, scan_type, task_run_id)
    return runner.deliver(task_run_id)
