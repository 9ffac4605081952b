"""The double against recorded runs of Vuls v0.40.1: the same input gives the same findings, status and error lines."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PACKAGE_ROOT = Path(__file__).parents[1]
DATA = PACKAGE_ROOT.parents[1] / "tests/data/vuls"
RECORDINGS = DATA / "recordings"


@dataclass(frozen=True)
class Case:
    """A recorded report: the results it began with, and the database it was given."""

    name: str
    scan: str
    database: str = "base.db"

    @property
    def recording(self) -> Path:
        return RECORDINGS / self.name


# A report that failed on its database left the result file as the scan wrote it: that is then its own input.
CASES = [
    Case("report-ok", "scan-ok"),
    Case("report-ok-debian13", "scan-ok-debian13"),
    Case("report-ok-next", "scan-ok", "next.db"),
    Case("report-after-failed", "scan-unreachable"),
    Case("report-after-one-failed", "scan-one-of-two-fails"),
    Case("report-db-corrupt", "report-db-corrupt", "corrupt.db"),
    Case("report-db-missing", "report-db-missing", "missing.db"),
    Case("report-db-fetch-no-network", "report-db-fetch-no-network", "fetch.db"),
    Case("report-no-results", ""),
]
ASSESSED = [case for case in CASES if case.name.startswith("report-ok") or case.name == "report-after-one-failed"]


@dataclass(frozen=True)
class Run:
    """What a run of the double left behind."""

    exit: int
    stdout: str
    stderr: str
    results: dict[str, dict[str, Any]]


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A directory with the demo databases, as recorded: one of them cut short, two of them not there."""
    etc = tmp_path / "etc"
    shutil.copytree(DATA / "demo-db", etc)
    (etc / "corrupt.db").write_bytes((etc / "base.db").read_bytes()[:3000])
    return etc


def run(case: Case, etc: Path, tmp_path: Path) -> Run:
    results = tmp_path / case.name
    if case.scan:
        shutil.copytree(RECORDINGS / case.scan / "results", results)
    else:
        results.mkdir()
    config = etc / "config.toml"
    text = (RECORDINGS / "config.toml").read_text().replace("/etc/vuls/vuls.db", str(etc / case.database))
    if case.database == "fetch.db":
        repository = recorded_repository(case)
        text = text.replace("SkipUpdate = true", f'SkipUpdate = false\nRepository = "{repository}"')
    config.write_text(text)
    done = report(f"-config={config}", f"-results-dir={results}", f"-log-dir={tmp_path}", "-format-json")
    return Run(done.returncode, done.stdout, done.stderr, results_in(results))


def report(*arguments: str, cwd: Path = PACKAGE_ROOT) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(PACKAGE_ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-P", "-m", "demo_report", *arguments],
        capture_output=True, text=True, env=environment, cwd=cwd, timeout=60, check=False,
    )  # fmt: skip


def results_in(directory: Path) -> dict[str, dict[str, Any]]:
    return {
        str(path.relative_to(directory)): json.loads(path.read_text()) for path in sorted(directory.glob("*/*.json"))
    }


def recorded_repository(case: Case) -> str:
    match = re.search(r"Fetching vuls2 db\. repository: (\S+?)\"", (case.recording / "stderr").read_text())
    assert match
    return match[1]


def normal(text: str, etc: Path, results: Path) -> list[str]:
    """The lines without what differs from run to run: times, paths, resolver, version, the stages of a fetch."""
    text = text.replace(str(etc), "/etc/vuls").replace(str(results), f"/var/lib/vuls/jobs/{results.name}")
    text = re.sub(r'time="[^"]*"', "time=T", text)
    text = re.sub(r"msg=vuls-[\w.-]+", "msg=vuls-VERSION", text)
    text = re.sub(r"(lookup \S+) on [\d.:]+\d:", r"\1:", text)
    return text.replace("fetch.db", "vuls.db").splitlines()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exit_status_and_output_are_those_of_the_recorded_run(case: Case, etc: Path, tmp_path: Path) -> None:
    done = run(case, etc, tmp_path)

    results = tmp_path / case.name
    recorded = (case.recording / "stderr").read_text()
    assert normal(done.stderr, etc, results) == normal(recorded, etc, results)
    assert done.exit == int((case.recording / "exit").read_text())
    assert done.stdout == (case.recording / "stdout").read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_results_are_those_of_the_recorded_run(case: Case, etc: Path, tmp_path: Path) -> None:
    done = run(case, etc, tmp_path)

    recorded = results_in(case.recording / "results")
    assert done.results.keys() == recorded.keys()
    for name, result in done.results.items():
        assert result["scannedCves"] == recorded[name]["scannedCves"]
        assert comparable(result) == comparable(recorded[name])


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    """The result without when, where and by what the report was made."""
    own = {"reportedAt", "reportedBy", "reportedVersion", "reportedRevision", "config"}
    return {key: value for key, value in result.items() if key not in own}


@pytest.mark.parametrize("case", ASSESSED, ids=lambda case: case.name)
def test_an_assessed_result_says_that_it_is_demo_data(case: Case, etc: Path, tmp_path: Path) -> None:
    done = run(case, etc, tmp_path)

    assessed = [result for result in done.results.values() if not result["errors"]]
    assert assessed
    assert {result["reportedVersion"] for result in assessed} == {"demo"}
    assert "msg=vuls-demo-stand-in" in done.stderr


def test_the_cases_cover_every_recorded_report() -> None:
    assert {case.name for case in CASES} == {path.name for path in RECORDINGS.glob("report-*")}


def test_the_help_says_that_it_is_a_test_double() -> None:
    done = report("--help")

    assert done.returncode == 0
    assert "test double" in done.stdout
