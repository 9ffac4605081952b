"""What the double refuses: it never answers with "no findings" where it could not look."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from demo_report.cli import main
from demo_report.config import load
from demo_report.database import open_database

DATA = Path(__file__).parents[3] / "tests/data/vuls"
SCAN = "2026-11-23T05-50-50+0000"


class Job:
    """One job's directory: the result of a scan, a configuration, a database."""

    def __init__(self, root: Path) -> None:
        self.results = root / "results"
        self.result = self.results / SCAN / "t1.json"
        self.config = root / "config.toml"
        self.database = root / "vuls.db"
        self.sources = root / "demo-db"
        shutil.copytree(DATA / "recordings/scan-ok/results", self.results)
        shutil.copy(DATA / "demo-db/base.db", self.database)
        shutil.copytree(DATA / "demo-db/base", self.sources)
        self.use(self.database)

    def use(self, path: Path) -> None:
        self.config.write_text(f'[vuls2]\nPath = "{path}"\nSkipUpdate = true\n')

    def change(self, **fields: Any) -> None:
        self.result.write_text(json.dumps(json.loads(self.result.read_text()) | fields))

    def read(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.result.read_text())
        return content

    def report(self) -> int:
        return main([f"-config={self.config}", f"-results-dir={self.results}", "-log-dir=/nowhere", "-format-json"])


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.mark.parametrize("name", ["base", "next"])
def test_a_database_file_says_what_its_sources_say(job: Job, name: str) -> None:
    job.use(DATA / f"demo-db/{name}.db")
    from_file = open_database(load(job.config))
    job.use(DATA / f"demo-db/{name}")
    from_sources = open_database(load(job.config))

    assert {cve: without_unscored(content) for cve, content in from_file.nvd.items()} == from_sources.nvd
    assert from_file.entries == from_sources.entries


def without_unscored(content: dict[str, Any]) -> dict[str, Any]:
    """The file has two scores more, which its sources leave out: both are 0, which stands for none."""
    for severity in content.get("severity", []):
        assert severity["cvss_v31"].pop("temporal_score") == 0
        assert severity["cvss_v31"].pop("environmental_score") == 0
    return content


def test_a_file_replaced_by_a_rename_is_what_the_next_report_uses(job: Job) -> None:
    shutil.copy(DATA / "demo-db/next.db", job.database.with_suffix(".part"))
    job.database.with_suffix(".part").replace(job.database)

    assert job.report() == 0
    assert len(job.read()["scannedCves"]) == 10


def test_a_directory_of_sources_will_do_as_a_database(job: Job) -> None:
    job.use(job.sources)

    assert job.report() == 0
    assert len(job.read()["scannedCves"]) == 9


def test_the_rewritten_file_is_readable_by_its_owner_only(job: Job) -> None:
    assert job.report() == 0
    assert job.result.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in job.result.parent.iterdir()] == ["t1.json"]


def test_a_second_report_leaves_the_findings_alone(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert job.report() == 0
    first = job.read()
    assert job.report() == 0
    assert job.read() == first
    assert "No need to refresh" in capsys.readouterr().err


def test_an_unknown_family_is_refused(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.change(family="slackware")

    assert job.report() == 1
    assert "Unsupported detection methods for slackware" in capsys.readouterr().err
    assert job.read()["reportedVersion"] == ""


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"release": ""}, "r.Release is empty"),
        ({"packages": {}, "SrcPackages": {}}, "no binary or source packages"),
    ],
)
def test_an_incomplete_scan_is_noted_in_the_result(job: Job, fields: dict[str, Any], reason: str) -> None:
    job.change(**fields)

    job.report()
    assert reason in job.read()["errors"][0]
    assert job.read()["scannedCves"] == {}


def garbage(job: Job) -> None:
    job.database.write_bytes(b"\0" * 20000)


def flipped_bit_in_both_meta_pages(job: Job) -> None:
    data = bytearray(job.database.read_bytes())
    data[40] ^= 1
    data[4096 + 40] ^= 1
    job.database.write_bytes(data)


def overwritten_pages(job: Job) -> None:
    data = job.database.read_bytes()
    job.database.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))


def cut_short_behind_the_meta_pages(job: Job) -> None:
    job.database.write_bytes(job.database.read_bytes()[:8192])


def empty(job: Job) -> None:
    job.database.write_bytes(b"")


def foreign_detections(job: Job) -> None:
    data = job.database.read_bytes()
    job.database.write_bytes(data.replace(b"debian-security-tracker-salsa", b"debian-security-tracker-other"))


def no_sources(job: Job) -> None:
    job.use(job.sources)
    shutil.rmtree(job.sources / "nvd-feed-cve-v2")


def broken_source(job: Job) -> None:
    job.use(job.sources)
    next(job.sources.glob("*/data/*.json")).write_text("{")


def foreign_rule(job: Job) -> None:
    job.use(job.sources)
    path = job.sources / "debian-security-tracker-salsa/data/CVE-2099-0001.json"
    path.write_text(path.read_text().replace('"OR"', '"AND"'))


def rule_about_a_binary(job: Job) -> None:
    job.use(job.sources)
    path = job.sources / "debian-security-tracker-salsa/data/CVE-2099-0001.json"
    path.write_text(path.read_text().replace('"type": "source"', '"type": "binary"'))


DAMAGES = [
    garbage, flipped_bit_in_both_meta_pages, overwritten_pages, cut_short_behind_the_meta_pages, empty,
    foreign_detections, no_sources, broken_source, foreign_rule, rule_about_a_binary,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_database_fails_and_leaves_the_result_unassessed(
    job: Job, damage: Callable[[Job], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(job)
    before = job.read()

    assert job.report() == 1
    assert "Failed to open vuls2 db" in capsys.readouterr().err
    assert job.read() == before


def test_a_result_that_is_no_json_is_refused(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.result.write_text("{")

    assert job.report() == 1
    assert "Failed to parse" in capsys.readouterr().err


def test_a_missing_results_directory_is_named(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(job.results)

    assert job.report() == 1
    assert f"open {job.results}: no such file or directory" in capsys.readouterr().err


def test_only_directories_named_after_a_time_are_results(job: Job) -> None:
    (job.results / "zzz").mkdir()

    assert job.report() == 0


@pytest.mark.parametrize("text", ["[vuls2", "vuls2 = 1\n"])
def test_a_broken_configuration_is_a_wrong_call(job: Job, text: str) -> None:
    job.config.write_text(text)

    assert job.report() == 2


def test_a_relative_results_directory_is_a_wrong_call(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(job.results.parent)

    assert main([f"-config={job.config}", "-results-dir=results", "-format-json"]) == 2


@pytest.mark.parametrize("arguments", [["-no-such-flag"], []])
def test_unknown_flags_and_other_formats_are_wrong_calls(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
