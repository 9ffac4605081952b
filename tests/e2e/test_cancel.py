"""A real scan is cancelled in each of its phases: within five seconds nothing of it is left, and it ends once."""

import time

import httpx
import pytest

from . import stack
from .strike import PHASES, containers, ends_of, striking

CANCELLED = 5  # seconds from the request until nothing of the scan is left
BOOT = 25  # seconds that a killed worker may take to start again on a busy machine


def cancel(admin: httpx.Client, run_id: int) -> None:
    """Cancel a run as scripts do."""
    answer = admin.post(f"/api/runs/{run_id}/cancel")
    assert answer.status_code in {200, 202}, answer.text


def assert_gone(admin: httpx.Client, run_id: int, began: float, seconds: float = CANCELLED) -> None:
    """Nothing of the run is left within its time, and it has one end."""
    left = max(0.1, began + seconds - time.monotonic())
    assert admin.get(f"/api/runs/{run_id}").json()["status"] == "cancelled"
    stack.wait_until(lambda: not containers(), timeout=left, what="no container of the scan is left", interval=0.05)
    assert ends_of(run_id) == ["cancelled"]


@pytest.mark.parametrize("phase", PHASES)
def test_a_scan_is_cancelled_in_each_phase_within_seconds(admin: httpx.Client, phase: str) -> None:
    scans = stack.sql("SELECT count(*) FROM scan")
    with striking(phase) as striker:
        run = stack.start_run(admin, 1)
        assert striker.phase() == phase, "the scan was over before"
        began = time.monotonic()
        cancel(admin, run["id"])
        assert_gone(admin, run["id"], began)
    assert stack.sql("SELECT count(*) FROM scan") == scans


def test_a_run_is_cancelled_before_a_worker_has_it(admin: httpx.Client) -> None:
    stack.must(stack.on("vuls-worker", "systemctl", "stop", "vuls-worker@default"))
    try:
        run = stack.start_run(admin, 1)
        began = time.monotonic()
        cancel(admin, run["id"])
        assert_gone(admin, run["id"], began)
    finally:
        stack.must(stack.on("vuls-worker", "systemctl", "start", "vuls-worker@default"))
    # The job is still in the queue: the worker that gets it leaves it alone.
    assert stack.finished(admin, stack.start_run(admin, 1)["id"])["status"] == "success"
    assert ends_of(run["id"]) == ["cancelled"]


def test_a_scan_is_cancelled_whose_worker_is_gone(admin: httpx.Client) -> None:
    with striking("connecting", "systemctl kill --signal KILL vuls-worker@default") as striker:
        run = stack.start_run(admin, 1)
        assert striker.phase() == "connecting", "the scan was over before"
        began = time.monotonic()
        cancel(admin, run["id"])
        assert_gone(admin, run["id"], began, BOOT + CANCELLED)
    assert stack.finished(admin, stack.start_run(admin, 1)["id"])["status"] == "success"
