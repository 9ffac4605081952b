"""Worker, executor, engine and container of a real scan are killed in each phase of it: it ends right, once, and alone.

The executor's own tests have more moments of a job, and the worker's of a run; here all of them are the deployed ones.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from . import stack
from .strike import PHASES, containers, ends_of, striking

_POOL = "pkill --signal KILL --parent $(systemctl show --property MainPID --value vuls-worker@default)"
VICTIMS = {
    "worker": "systemctl kill --signal KILL vuls-worker@default",
    "its pool": _POOL,
    "executor": "systemctl kill --signal KILL vuls-executor",
    "engine": "systemctl kill --signal KILL --kill-whom main docker",
    # What runs of the job: at the moment of the blow there may be nothing yet, which is waited for.
    "container": "until docker kill $(docker ps --quiet --filter label=vuls-live.job); do sleep 0.02; done",
}
SURVIVED = {"worker", "its pool", "executor"}  # their scan goes on and is stored
UNITS = ("vuls-worker@default", "vuls-executor", "docker")
SHORT = {("worker", "connecting"), ("executor", "collecting_packages"), ("container", "connecting")}


def table() -> Iterator[Any]:
    """Every victim in every phase; `make test` has a few of them."""
    for victim in VICTIMS:
        for phase in PHASES:
            marks = [] if (victim, phase) in SHORT else [pytest.mark.long]
            yield pytest.param(victim, phase, marks=marks, id=f"{victim} while {phase}")


@pytest.fixture
def whole_again() -> Iterator[None]:
    """Wait afterwards until everything that was killed runs again."""
    yield
    for unit in UNITS:
        stack.wait_until(
            lambda unit=unit: stack.on("vuls-worker", "systemctl", "is-active", unit).stdout.strip() == "active",  # type: ignore[misc]
            timeout=60,
            what=f"{unit} is back",
        )


@pytest.mark.usefixtures("whole_again")
@pytest.mark.parametrize(("victim", "phase"), list(table()))
def test_whatever_is_killed_the_run_ends_right_once_and_leaves_nothing(
    admin: httpx.Client, victim: str, phase: str
) -> None:
    with striking(phase, VICTIMS[victim]) as striker:
        run = stack.start_run(admin, 1)
        assert striker.phase() == phase, "the scan was over before"
        ended = stack.finished(admin, run["id"], timeout=90)
        scans, most = striker.containers_seen()
    assert ends_of(run["id"]) == [ended["status"]], "exactly one end is told"
    assert most <= 1, "two programs of one run ran at the same time"
    assert scans <= 1, "the host was scanned twice"
    assert_right(victim, ended)
    stack.wait_until(lambda: not containers(), timeout=30, what="no container of the scan is left")
    again = stack.finished(admin, stack.start_run(admin, 1)["id"], timeout=90)
    assert again["result_data"].get("verdict") == "assessed", f"the next one is as ever: {again}"


def assert_right(victim: str, ended: dict[str, Any]) -> None:
    """The end fits what was killed: survivors' scans are assessed, others fail with a reason and a next step."""
    data = ended["result_data"]
    if ended["status"] == "success":
        # A container that was killed in its report leaves packages that nobody assessed.
        assert data["verdict"] == "assessed" or victim not in SURVIVED, data
        return
    assert victim not in SURVIVED, data
    assert ended["status"] == "failed", data
    assert data["verdict"] == "failed"
    assert data["reason"]["code"] in {"program_killed", "scan_stopped", "engine_refused", "container_lost"}, data
    assert len(data["reason"]["sentence"]) > 40, data
