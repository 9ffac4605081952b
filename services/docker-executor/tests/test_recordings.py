"""Every recorded program goes through a job: which state and code it ends with, and what is handed on."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from executor.database import Database
from executor.engine import Engine, Observation
from executor.feed import Feed
from executor.jobs import Kind, ScanType, State, Step
from executor.phases import clean
from executor.runner import Runner
from executor.settings import Settings
from executor.store import Store
from executor.workspace import Workspace
from tests.harness import RECORDINGS
from tests.test_runner import EndedPrograms

DONE: tuple[State, str | None] = (State.DONE, None)
ENDS = {
    "scan-sigterm": (State.FAILED, "program_killed"),
    "configtest-ok": DONE,
    "configtest-unreachable": DONE,
    "report-after-failed": DONE,
    "report-after-one-failed": DONE,
    "report-db-corrupt": DONE,
    "report-db-fetch-no-network": DONE,
    "report-db-missing": DONE,
    "report-no-results": DONE,
    "report-ok": DONE,
    "report-ok-debian13": DONE,
    "report-ok-next": DONE,
    "scan-bad-toml": DONE,
    "scan-missing-key": DONE,
    "scan-not-in-config": DONE,
    "scan-ok": DONE,
    "scan-ok-debian13": DONE,
    "scan-one-of-two-fails": DONE,
    "scan-permission-denied": DONE,
    "scan-relative-results": DONE,
    "scan-timeout": DONE,
    "scan-unknown-host-key": DONE,
    "scan-unreachable": DONE,
    "scanner-only-ok": DONE,
}
NO_PROGRAM_OF_A_JOB = {"version"}


class Recorded(EndedPrograms):
    """Stands in for the engine: one step ends as it was recorded, the other one well and without a word."""

    def __init__(self, step: Step, place: Path) -> None:
        super().__init__(**{step: int((place / "exit").read_text())})
        self._said = {str(step): clean((place / "stderr").read_bytes())}

    def observe(self, container_id: str) -> Observation:
        """Return the recorded program's end and its words."""
        seen = super().observe(container_id)
        return Observation(
            started=seen.started,
            running=False,
            exit_code=seen.exit_code,
            out_of_memory=False,
            lines=self._said.get(container_id, ()),
        )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    made = Store(settings.state_dir / "jobs.sqlite3")
    yield made
    made.close()


def parts(name: str) -> tuple[Step, Kind, Path | None]:
    """Return which program was recorded, of which kind of job, and the result that it left."""
    results = sorted((RECORDINGS / name).rglob("*.json"))
    step = Step.REPORT if name.startswith("report") else Step.SCAN
    return step, Kind.CHECK if name.startswith("configtest") else Kind.SCAN, results[0] if results else None


@pytest.mark.parametrize("name", sorted(ENDS))
async def test_a_recorded_program_ends_a_job_as_it_should(settings: Settings, store: Store, name: str) -> None:
    step, kind, result = parts(name)
    server = result.stem if result else "t1"
    store.add("run-1", server, ScanType.FAST, kind=kind, begun=True)
    job = store.move("run-1", State.SCANNING)
    place = Workspace(settings, "run-1").results
    place.mkdir(parents=True)
    if result:
        shutil.copytree(result.parent, place / result.parent.name)
    engine = cast("Engine", Recorded(step, RECORDINGS / name))
    driven = Runner(settings, store, engine, Feed(), Database(settings.database), job)
    await driven.drive()
    ended = driven.job
    state, code = ENDS[name]
    exit_status = int((RECORDINGS / name / "exit").read_text())
    assert (ended.state, ended.error_code) == (state, code)
    if code is not None:
        assert (ended.scan_exit, store.result("run-1")) == (None, None)
        assert str(exit_status - 128) in str(ended.error_sentence)
        return
    assert {Step.SCAN: ended.scan_exit, Step.REPORT: ended.report_exit}[step] == exit_status
    words = {Step.SCAN: ended.scan_log, Step.REPORT: ended.report_log}[step]
    assert words == clean((RECORDINGS / name / "stderr").read_bytes())
    handed_on = store.result("run-1")
    assert (handed_on is not None) is (result is not None and kind is Kind.SCAN)
    if result is not None and handed_on is not None:
        expected = json.loads(result.read_text())
        del expected["config"]
        assert json.loads(handed_on) == expected


def test_every_recording_is_here() -> None:
    recorded = {place.parent.name for place in RECORDINGS.glob("*/stderr")}
    assert recorded == ENDS.keys() | NO_PROGRAM_OF_A_JOB
