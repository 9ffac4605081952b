"""Every recorded run of Vuls is judged as the contract's table says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.severity import Severity
from app.domain.verdict import Database, Reason, Verdict, failed, judge
from tests.recordings import ROOT, Recording

SEVERITIES = [str(severity) for severity in Severity]
NOW = datetime(2026, 11, 24, tzinfo=UTC)
ASSESSED = [
    ("report-ok", "t1", (9, 2, 2, 3, 1, 1)),
    ("report-ok-debian13", "t2", (9, 2, 2, 3, 1, 1)),
    ("report-ok-next", "t1", (10, 2, 2, 3, 2, 1)),
    ("report-after-one-failed", "t1", (9, 2, 2, 3, 1, 1)),
]
NOT_ASSESSED = [
    ("report-db-missing", "t1", "database_missing", "missing"),
    ("report-db-corrupt", "t1", "database_corrupt", "corrupt"),
    ("report-db-fetch-no-network", "t1", "database_not_fetched", "could not be fetched"),
    ("scan-ok", "t1", "report_not_run", "did not run"),
    ("scan-ok-debian13", "t2", "report_not_run", "did not run"),
    ("scanner-only-ok", "t1", "report_not_run", "did not run"),
    ("scan-one-of-two-fails", "t1", "report_not_run", "did not run"),
]
FAILED = [
    ("scan-unreachable", "down", "unreachable", "No route to host"),
    ("scan-one-of-two-fails", "down", "unreachable", "down could not be reached"),
    ("report-after-failed", "down", "unreachable", "firewall"),
    ("scan-unknown-host-key", "t1", "unknown_host_key", "scan_hosts playbook"),
    ("scan-permission-denied", "t1", "permission_denied", "refused the scan user's SSH key"),
    ("scan-timeout", "t1", "scan_timeout", "did not answer in time"),
    ("scan-sigterm", None, "scan_stopped", "stopped before it ended"),
    ("scan-not-in-config", None, "unknown_server", "no target called t1"),
    ("scan-missing-key", None, "missing_key", "no SSH key"),
    ("scan-bad-toml", None, "bad_configuration", "refused its configuration"),
    ("scan-relative-results", None, "bad_configuration", "refused its configuration"),
    ("report-no-results", None, "no_result", "without a result"),
]


def judge_recording(name: str, server: str | None) -> Verdict:
    recording = Recording(name)
    is_scan = name.startswith("scan")
    return judge(
        scan_exit=recording.exit_status if is_scan else 0,
        report_exit=None if is_scan else recording.exit_status,
        result=recording.result(server) if server else None,
        log=recording.log,
        host=server or "t1",
    )


@pytest.mark.parametrize(("name", "server", "counts"), ASSESSED)
def test_a_reported_scan_is_assessed_with_counts_that_add_up(name: str, server: str, counts: tuple[int, ...]) -> None:
    data = judge_recording(name, server).result_data(23)
    assert data == {"scan_id": 23, "verdict": "assessed", "vulnerabilities": counts[0]} | dict(
        zip(SEVERITIES, counts[1:], strict=True)
    )
    assert sum(data[severity] for severity in SEVERITIES) == data["vulnerabilities"]


@pytest.mark.parametrize(("name", "server", "code", "words"), NOT_ASSESSED)
def test_packages_without_a_match_are_not_assessed(name: str, server: str, code: str, words: str) -> None:
    verdict = judge_recording(name, server)
    data = verdict.result_data(23)
    assert (verdict.status, data["verdict"], data["reason"]["code"]) == ("success", "not_assessed", code)
    assert words in data["reason"]["sentence"]
    assert [data[name] for name in ("vulnerabilities", *SEVERITIES)] == [None] * 6


@pytest.mark.parametrize(("name", "server", "code", "words"), FAILED)
def test_a_scan_that_brought_nothing_usable_has_failed(name: str, server: str | None, code: str, words: str) -> None:
    verdict = judge_recording(name, server)
    data = verdict.result_data(None)
    assert (verdict.status, data["verdict"], data["reason"]["code"]) == ("failed", "failed", code)
    assert words in data["reason"]["sentence"]
    assert [data[name] for name in ("scan_id", "vulnerabilities", *SEVERITIES)] == [None] * 7


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("ssh: Could not resolve hostname web-7: Name or service not known", "unreachable"),
        ("ssh: connect to host 192.0.2.9 port 22: Connection refused", "unreachable"),
        ("ssh: connect to host 192.0.2.9 port 22: Connection timed out", "unreachable"),
        ("ssh: connect to host localhost port 22: Cannot assign requested address", "unreachable"),
        ("Unable to connect via SSH. Scan with -vvv option to print SSH debugging messages", "unreachable"),
        ("Host key verification failed.", "unknown_host_key"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "host_key_changed"),
        ("sudo: a password is required", "sudo_denied"),
        ("Unknown OS Type", "unsupported_family"),
        ("something nobody has seen before", "scan_failed"),
    ],
)
def test_an_error_in_the_result_names_its_cause(error: str, code: str) -> None:
    result = Recording("scan-unreachable").result("down") | {"errors": [error]}
    verdict = judge(1, None, result, [], host="t1")
    assert verdict.reason is not None
    assert (verdict.verdict, verdict.reason.code) == ("failed", code)
    assert verdict.reason.sentence.endswith(".")


def assessed_with(**changes: Any) -> dict[str, Any]:
    return Recording("report-ok").result("t1") | changes


EOL = "Standard OS support is EOL(End-of-Life). Purchase extended support if available or Upgrading your OS is strongly"


@pytest.mark.parametrize(
    ("changes", "verdict", "code"),
    [
        ({"warnings": [EOL]}, "not_assessed", "end_of_life"),
        ({"warnings": [EOL, "Extended support is also EOL."]}, "not_assessed", "end_of_life"),
        ({"warnings": [EOL, "Extended support available until 2099-01-01. Check the vendor site."]}, "assessed", None),
        ({"warnings": ["Failed to check EOL. Register the issue"]}, "not_assessed", "unsupported_family"),
        ({"family": "pseudo"}, "not_assessed", "unsupported_family"),
        ({"family": ""}, "not_assessed", "unsupported_family"),
        ({"family": "", "packages": None}, "failed", "unsupported_family"),
        ({"packages": {}}, "failed", "no_packages"),
        ({"reportedVersion": ""}, "not_assessed", "report_failed"),
        ({"scannedCves": []}, "failed", "bad_result"),
        ({"scannedCves": {"CVE-1": []}}, "failed", "bad_result"),
        ({"scannedCves": {"CVE-1": {"cveContents": {"nvd": {"title": "no list"}}}}}, "failed", "bad_result"),
        ({"errors": "words"}, "failed", "bad_result"),
        ({"family": 7}, "failed", "bad_result"),
        ({"scannedCves": {}}, "assessed", None),
        ({"scannedCves": None}, "assessed", None),
    ],
)
def test_what_the_result_says_of_itself_decides(changes: dict[str, Any], verdict: str, code: str | None) -> None:
    judged = judge(0, 0, assessed_with(**changes), [], host="t1")
    assert judged.verdict == verdict
    assert (judged.reason.code if judged.reason else None) == code
    assert (judged.counts is None) == (verdict != "assessed")


def test_every_recorded_scan_and_report_is_judged_above() -> None:
    recorded = {place.name for pattern in ("scan*", "report-*") for place in ROOT.glob(pattern)}
    assert {name for name, *_ in (*ASSESSED, *NOT_ASSESSED, *FAILED)} == recorded


def test_the_stand_ins_result_is_marked_as_demo_data() -> None:
    assert judge(0, 0, assessed_with(reportedVersion="demo"), []).result_data(1)["demo"] is True
    assert "demo" not in judge(0, 0, assessed_with(), []).result_data(1)


@pytest.mark.parametrize(
    ("result", "verdict"),
    [(None, "failed"), (Recording("scan-ok"), "not_assessed"), (Recording("report-ok"), "assessed")],
    ids=["no result", "scanned only", "reported"],
)
def test_the_executors_reason_stands_where_nothing_was_assessed(result: Recording | None, verdict: str) -> None:
    error = Reason("time_limit", "The scan took too long.")
    judged = judge(0, None, result.result("t1") if result else None, ["not found, cannot skip update"], error)
    assert judged.verdict == verdict
    assert judged.reason == (None if verdict == "assessed" else error)


def test_no_sentence_shows_addresses_users_or_key_paths() -> None:
    for name, server in (
        ("scan-unreachable", "down"),
        ("scan-permission-denied", "t1"),
        ("scan-unknown-host-key", "t1"),
    ):
        reason = judge_recording(name, server).reason
        assert reason is not None
        assert not any(secret in reason.sentence for secret in ("192.0.2.", "/etc/vuls", "vuls@"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("Something odd at vuls@192.0.2.9:22", "Something odd at [masked]"),
        ("Odd: host 192.0.2.9 port 22", "Odd: host [masked] port 22"),
        ("Odd: host 2001:db8::7 port 22, ::1, fe80:0:0:1:2:3:4:5", "Odd: host [masked] port 22, [masked], [masked]"),
        ("Odd: -i /etc/vuls/keys/id_ed25519 -p 22", "Odd: -i [masked] -p 22"),
        ("Odd: password=hunter2", "Odd: password=[masked]"),
        ("\x1b[31mOdd\x1b[0m\x00 and\x07\tred", "Odd and red"),
        ("Odd at 12:30:45 of day 1/2", "Odd at 12:30:45 of day 1/2"),
        ("\nOdd.\nMore of it", "Odd"),
        ("x" * 500, "x" * 200),
        ("", "Vuls gave no reason"),
        ("\x1b[0m\x00", "Vuls gave no reason"),
    ],
)
def test_words_that_nobody_knows_are_repeated_without_what_is_nobodys_business(words: str, said: str) -> None:
    reason = judge(1, None, Recording("scan-unreachable").result("down") | {"errors": [words]}, [], host="t1").reason
    assert reason is not None
    assert reason.sentence == (
        f"The scan of t1 failed: {said}. The journal of vuls-executor on the scan host has Vuls' own words."
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["errors", "warnings", "family", "packages", "scannedCves", "reportedAt", "reportedVersion", "serverName"]


@given(changes=st.dictionaries(st.sampled_from(FIELDS), json_values), log=st.lists(st.text(max_size=40), max_size=3))
def test_whatever_the_file_holds_the_verdict_keeps_to_the_table(changes: dict[str, Any], log: list[str]) -> None:
    verdict = judge(1, 1, assessed_with(**changes), log)
    data = verdict.result_data(5)
    numbers = [data[severity] for severity in SEVERITIES]
    if data["verdict"] == "assessed":
        assert sum(numbers) == data["vulnerabilities"]
        assert "reason" not in data
    else:
        assert [data["vulnerabilities"], *numbers] == [None] * 6
        assert data["reason"]["sentence"]
    assert verdict.status == ("failed" if data["verdict"] == "failed" else "success")


def test_a_failure_without_a_result_says_why() -> None:
    assert failed("worker_lost", "Gone.").result_data(None)["reason"] == {"code": "worker_lost", "sentence": "Gone."}


@pytest.mark.parametrize(
    ("age", "limit", "verdict"),
    [
        (timedelta(days=14), timedelta(days=14), "assessed"),
        (timedelta(days=14, seconds=1), timedelta(days=14), "not_assessed"),
        (timedelta(days=900), None, "assessed"),
        (timedelta(days=-2), timedelta(days=14), "assessed"),  # a clock that is behind
    ],
)
def test_packages_matched_against_old_data_are_not_assessed(
    age: timedelta, limit: timedelta | None, verdict: str
) -> None:
    database = Database("sha256:" + "0" * 64, NOW - age, age, limit)
    judged = judge(0, 0, assessed_with(), [], host="t1", database=database)
    assert (judged.verdict, judged.database) == (verdict, database)
    data = judged.result_data(23)
    if verdict == "not_assessed":
        assert data["reason"]["code"] == "database_outdated"
        assert "14 days old, more than the limit of 14 days" in data["reason"]["sentence"]
        assert {data[severity] for severity in SEVERITIES} == {None}


def test_a_report_that_did_not_run_says_so_however_old_the_database_is() -> None:
    database = Database("sha256:" + "0" * 64, NOW - timedelta(days=20), timedelta(days=20), timedelta(days=14))
    recorded = Recording("report-db-missing")
    judged = judge(0, 1, recorded.result("t1"), recorded.log, host="t1", database=database)
    assert judged.reason is not None
    assert judged.reason.code == "database_missing"
