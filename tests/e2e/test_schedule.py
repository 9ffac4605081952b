"""A minute schedule fires once a minute, whoever of the schedulers is alive."""

from datetime import datetime
from itertools import pairwise

import httpx
import pytest

from . import stack


def active() -> str | None:
    """Return the host whose scheduler holds the lock, as the database sees it."""
    address = stack.sql(
        "SELECT host(client_addr) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND granted AND application_name LIKE 'vuls-scheduler %'"
    )
    for host in stack.SCHEDULERS:
        if address and address in stack.shell(host, "hostname -I").split():
            return host
    return None


# Minutes of waiting; make test has the same with processes of its own (services/web-app/tests/scheduler).
@pytest.mark.long
def test_a_minute_schedule_fires_once_a_minute_through_the_death_of_the_active_scheduler(admin: httpx.Client) -> None:
    first = stack.wait_until(active, timeout=60, what="an active scheduler")
    made = admin.post(
        "/api/scheduled-tasks",
        json={
            "name": "every minute",
            "host_id": 2,
            "scan_type": "fast",
            "cron": "* * * * *",
            "timezone": "Europe/Berlin",
        },
    )
    assert made.status_code == 201, made.text
    task_id = made.json()["id"]

    def fired(count: int) -> list[str]:
        rows = stack.sql(f"SELECT scheduled_for FROM run WHERE task_id = {task_id} ORDER BY scheduled_for").splitlines()
        return rows if len(rows) >= count else []

    try:
        stack.wait_until(lambda: fired(1), timeout=120, what="the first firing")
        stack.must(stack.on(first, "systemctl", "kill", "-s", "KILL", "vuls-scheduler"))
        stack.must(stack.on(first, "systemctl", "stop", "vuls-scheduler"))
        second = stack.wait_until(
            lambda: active() if active() != first else None, timeout=60, what="the other scheduler's turn"
        )
        assert second in stack.SCHEDULERS
        rows = stack.wait_until(lambda: fired(3), timeout=200, what="two more firings")
    finally:
        stack.must(stack.on(first, "systemctl", "start", "vuls-scheduler"))
        admin.delete(f"/api/scheduled-tasks/{task_id}")
    times = [datetime.fromisoformat(row) for row in rows]
    gaps = {(later - earlier).total_seconds() for earlier, later in pairwise(times)}
    assert gaps == {60.0}, rows
    late = stack.sql(f"SELECT max(extract(epoch FROM created_at - scheduled_for)) FROM run WHERE task_id = {task_id}")
    assert float(late) < 15, f"the latest firing came {late} s late"
