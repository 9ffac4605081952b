"""Every recorded run of Vuls is judged as the contract's table says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.severity import Severity
from app.domain.time_limit import Allowance, allowance
from app.domain.verdict import Database, Reason, Verdict, failed, judge, judge_check, took_too_long
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
    ("report-db-missing", "t1", "database_missing"),
    ("report-db-corrupt", "t1", "database_corrupt"),
    ("report-db-fetch-no-network", "t1", "database_not_fetched"),
    ("scan-ok", "t1", "report_not_run"),
    ("scan-ok-debian13", "t2", "report_not_run"),
    ("scanner-only-ok", "t1", "report_not_run"),
    ("scan-one-of-two-fails", "t1", "report_not_run"),
]
FAILED = [
    ("scan-unreachable", "down", "unreachable"),
    ("scan-one-of-two-fails", "down", "unreachable"),
    ("report-after-failed", "down", "unreachable"),
    ("scan-unknown-host-key", "t1", "unknown_host_key"),
    ("scan-permission-denied", "t1", "permission_denied"),
    ("scan-timeout", "t1", "scan_timeout"),
    ("scan-sigterm", None, "scan_stopped"),
    ("scan-not-in-config", None, "unknown_server"),
    ("scan-missing-key", None, "missing_key"),
    ("scan-bad-toml", None, "bad_configuration"),
    ("scan-relative-results", None, "bad_configuration"),
    ("report-no-results", None, "no_result"),
]
REFRESH = """`ansible-playbook -i INVENTORY playbooks/scan_hosts.yml --limit 'HOST,scan_hosts,web'` (HOST as the
    inventory calls it)"""
REMOVE = """`ansible-playbook -i INVENTORY playbooks/scan_hosts.yml -e scan_hosts_remove=HOST` takes it away from the
    scans."""
VULS = "`ansible-playbook -i INVENTORY site.yml --tags vuls`"
EXECUTOR = "`ansible-playbook -i INVENTORY site.yml --tags secrets,executor`"
REASSESS = "`vulsctl run reassess HOST` on a web host"
CHECK = "`vulsctl run check HOST` on a web host tries it without a scan."
LOG = "`vulsctl run log 15` on a web host"
UNMATCHED = "The packages of HOST were collected but not matched:"
# Every sentence, whole. HOST stands for the host, and line ends for spaces.
SENTENCES = {
    "database_missing": f"""{UNMATCHED} the vulnerability database is missing on the scan host. Run {VULS} to bring
        it, then {REASSESS}.""",
    "database_corrupt": f"""{UNMATCHED} the vulnerability database is corrupt. Run {VULS} to replace it, then
        {REASSESS}.""",
    "database_not_fetched": f"""{UNMATCHED} the vulnerability database could not be fetched. Check the scan host's
        way to its source and run {VULS}, then {REASSESS}.""",
    "database_incompatible": f"""{UNMATCHED} the vulnerability database is of another version than Vuls. Run {VULS}
        to bring the one that belongs to this release, then {REASSESS}.""",
    "database_outdated": f"""The packages of HOST were matched against a vulnerability database that is 14 days old,
        more than the limit of 14 days: newer vulnerabilities are missing. Run {VULS} to bring a newer one to the
        scan host, then {REASSESS}.""",
    "database_age_unknown": f"""The packages of HOST were matched against a vulnerability database whose age cannot
        be told, so newer vulnerabilities may be missing. `journalctl -u vuls-executor` on the scan host says why;
        run {VULS} to replace the database, then {REASSESS}.""",
    "report_not_run": f"{UNMATCHED} vuls report did not run. Run {REASSESS}.",
    "report_failed": f"""{UNMATCHED} vuls report failed (exit status 1). {LOG} has Vuls' own words. After mending
        what they name, run {REASSESS}.""",
    "end_of_life": """debian 12.15 on HOST is past its end of life: nobody lists its vulnerabilities any more.
        Upgrade its operating system, then press Run to scan it again.""",
    "unreachable": f"""HOST could not be reached over SSH (No route to host). Check that it is running, that its SSH
        server listens, and that no firewall stands between it and the scan host; {CHECK}""",
    "unresolved": f"""The address of HOST could not be resolved. Correct the DNS of the scan host, or
        scan_target_address in the inventory; after that run {REFRESH}.""",
    "no_login": f"""The scan host could not log in to HOST over SSH. Run {REFRESH} to set its address, host key and
        user again; {LOG} has SSH's own words.""",
    "host_key_changed": f"""The SSH host key of HOST is not the one on record. If the host was reinstalled, run
        {REFRESH} to record its new key; if not, find out who answers at its address.""",
    "unknown_host_key": f"The SSH host key of HOST is not known to the scan host. Run {REFRESH} to record it.",
    "permission_denied": f"""HOST refused the scan user's SSH key (permission denied). Run {REFRESH} to install the
        key again.""",
    "scan_timeout": f"HOST did not answer in time. Check its load and its network; {CHECK}",
    "sudo_denied": f"""HOST does not let the scan user run a command with sudo. Allow it in sudoers, or give its task
        the scan_type fast in the inventory and run {REFRESH}.""",
    "unknown_system": f"Vuls does not know the operating system of HOST, so it cannot be scanned. {REMOVE}",
    "unsupported_family": f"Vuls cannot assess the operating system of HOST (pseudo 12.15). {REMOVE}",
    "unknown_server": f"The scan host has no target called HOST. Run {REFRESH} to add it.",
    "missing_key": f"The scan host has no SSH key to scan with. Run {EXECUTOR} to install it.",
    "bad_configuration": f"""Vuls refused its configuration. {LOG} says why; correct the variables of the roles vuls
        and executor, then run {EXECUTOR}.""",
    "scan_stopped": "The scan of HOST was stopped before it ended. Press Run to scan it again.",
    "no_result": f"The scan of HOST ended without a result (exit status 0). {LOG} has Vuls' own words.",
    "scan_failed": f"The scan of HOST failed: something nobody has seen before. {LOG} has Vuls' own words.",
    "no_packages": f"The scan of HOST brought back no packages. {LOG} has Vuls' own words.",
    "check_failed": f"HOST cannot be scanned (exit status 3). {LOG} has Vuls' own words.",
    "other_version": f"""The result of HOST is from another version of Vuls (jsonVersion is 5, not 4). Run {VULS} to
        deploy the version that belongs to this release.""",
    "bad_result": f"""The result of HOST cannot be read (family is not a text). Run {VULS} to deploy the version of
        Vuls that belongs to this release, then run the scan again.""",
    "task_time_limit": f"""The scan of HOST was ended after 30 minutes, the time limit of its task. {LOG} shows how
        far it came; if the host needs longer, raise time_limit_minutes of the task, then run it again.""",
    "worker_time_limit": f"""The scan of HOST was ended after 180 minutes, which is as long as its worker lets any
        scan go on. {LOG} shows how far it came; check the load and the network of the host, then run it again.""",
}


def said(name: str, host: str) -> str:
    return " ".join(SENTENCES[name].split()).replace("HOST", host)


def judge_recording(name: str, server: str | None) -> Verdict:
    recording = Recording(name)
    is_scan = name.startswith("scan")
    return judge(
        scan_exit=recording.exit_status if is_scan else 0,
        report_exit=None if is_scan else recording.exit_status,
        result=recording.result(server) if server else None,
        log=recording.log,
        host=server or "t1",
        run_id=15,
    )


@pytest.mark.parametrize(("name", "server", "counts"), ASSESSED)
def test_a_reported_scan_is_assessed_with_counts_that_add_up(name: str, server: str, counts: tuple[int, ...]) -> None:
    data = judge_recording(name, server).result_data(23)
    assert data == {"scan_id": 23, "verdict": "assessed", "vulnerabilities": counts[0]} | dict(
        zip(SEVERITIES, counts[1:], strict=True)
    )
    assert sum(data[severity] for severity in SEVERITIES) == data["vulnerabilities"]


@pytest.mark.parametrize(("name", "server", "code"), NOT_ASSESSED)
def test_packages_without_a_match_are_not_assessed(name: str, server: str, code: str) -> None:
    verdict = judge_recording(name, server)
    data = verdict.result_data(23)
    assert (verdict.status, data["verdict"], data["reason"]["code"]) == ("success", "not_assessed", code)
    assert data["reason"]["sentence"] == said(code, server or "t1")
    assert [data[name] for name in ("vulnerabilities", *SEVERITIES)] == [None] * 6


@pytest.mark.parametrize(("name", "server", "code"), FAILED)
def test_a_scan_that_brought_nothing_usable_has_failed(name: str, server: str | None, code: str) -> None:
    verdict = judge_recording(name, server)
    data = verdict.result_data(None)
    assert (verdict.status, data["verdict"], data["reason"]["code"]) == ("failed", "failed", code)
    assert data["reason"]["sentence"] == said(code, server or "t1")
    assert [data[name] for name in ("scan_id", "vulnerabilities", *SEVERITIES)] == [None] * 7


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        ("ssh: Could not resolve hostname web-7: Name or service not known", "unreachable", "unresolved"),
        ("ssh: connect to host 192.0.2.9 port 22: No route to host", "unreachable", "unreachable"),
        ("Unable to connect via SSH. Scan with -vvv option to print SSH debugging messages", "unreachable", "no_login"),
        ("Host key verification failed.", "unknown_host_key", "unknown_host_key"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "host_key_changed", "host_key_changed"),
        ("sudo: a password is required", "sudo_denied", "sudo_denied"),
        ("Unknown OS Type", "unsupported_family", "unknown_system"),
        ("something nobody has seen before", "scan_failed", "scan_failed"),
    ],
)
def test_an_error_in_the_result_names_its_cause(error: str, code: str, sentence: str) -> None:
    result = Recording("scan-unreachable").result("down") | {"errors": [error]}
    verdict = judge(1, None, result, [], host="t1", run_id=15)
    assert verdict.reason == Reason(code, said(sentence, "t1"))
    assert verdict.verdict == "failed"


@pytest.mark.parametrize("detail", ["Connection refused", "Connection timed out", "Cannot assign requested address"])
def test_a_host_that_is_out_of_reach_is_named_with_what_ssh_said(detail: str) -> None:
    result = Recording("scan-unreachable").result("down") | {
        "errors": [f"ssh: connect to host 192.0.2.9 port 22: {detail}"]
    }
    reason = judge(1, None, result, [], host="t1", run_id=15).reason
    assert reason == Reason("unreachable", said("unreachable", "t1").replace("No route to host", detail))


def test_a_recorded_check_that_works_has_no_verdict_and_one_that_fails_its_sentence() -> None:
    works, fails = Recording("configtest-ok"), Recording("configtest-unreachable")
    assert judge_check(works.exit_status, works.log, None, "t1", 15) == Verdict(None)
    assert judge_check(fails.exit_status, fails.log, None, "down", 15).reason == Reason(
        "unreachable", said("unreachable", "down")
    )
    assert judge_check(3, [], None, "t1", 15).reason == Reason("check_failed", said("check_failed", "t1"))


@pytest.mark.parametrize(
    ("code", "changes", "log"),
    [
        ("unsupported_family", {"family": "pseudo"}, []),
        ("no_packages", {"packages": {}}, []),
        ("report_failed", {"reportedVersion": ""}, []),
        ("database_incompatible", {"reportedVersion": ""}, ["unexpected schema version. expected: 0, actual: 1"]),
        ("end_of_life", {"warnings": ["Standard OS support is EOL(End-of-Life)."]}, []),
        ("other_version", {"jsonVersion": 5}, []),
        ("bad_result", {"family": 7}, []),
    ],
)
def test_the_whole_sentence_of_a_result_that_says_nothing(code: str, changes: dict[str, Any], log: list[str]) -> None:
    assert judge(0, 1, assessed_with(**changes), log, host="t1", run_id=15).reason == Reason(code, said(code, "t1"))


@pytest.mark.parametrize(
    ("allowed", "code", "sentence"),
    [
        (Allowance(0, 30, by_task=True), "task_time_limit", "task_time_limit"),
        (Allowance(0, 180, by_task=False), "scan_timeout", "worker_time_limit"),
    ],
)
def test_the_whole_sentence_of_a_scan_that_took_too_long(allowed: Allowance, code: str, sentence: str) -> None:
    assert took_too_long("t1", 15, allowed).reason == Reason(code, said(sentence, "t1"))


def test_a_database_of_unknown_age_is_said_whole() -> None:
    judged = judge(0, 0, assessed_with(), [], host="t1", database="unknown")
    assert judged.reason == Reason("database_age_unknown", said("database_age_unknown", "t1"))


def test_without_a_run_its_log_is_named_all_the_same() -> None:
    reason = judge(0, 0, None, [], host="t1").reason
    assert reason is not None
    assert reason.sentence.endswith("The log of the run has Vuls' own words.")


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
    assert {name for name, *_ in ASSESSED} | {name for name, *_ in (*NOT_ASSESSED, *FAILED)} == recorded


def test_the_stand_ins_result_is_marked_as_demo_data() -> None:
    assert judge(0, 0, assessed_with(reportedVersion="demo"), []).result_data(1)["demo"] is True
    assert "demo" not in judge(0, 0, assessed_with(), []).result_data(1)


@pytest.mark.parametrize(
    ("result", "verdict"),
    [(None, "failed"), (Recording("scan-ok"), "not_assessed"), (Recording("report-ok"), "not_assessed")],
    ids=["no result", "scanned only", "reported"],
)
def test_what_the_executor_could_not_run_to_its_end_has_assessed_nothing(
    result: Recording | None, verdict: str
) -> None:
    error = Reason("time_limit", "The report took too long.")
    judged = judge(0, None, result.result("t1") if result else None, ["not found, cannot skip update"], error)
    assert judged.verdict == verdict
    assert judged.reason == error


@pytest.mark.parametrize(
    ("scan_exit", "report_exit", "verdict", "code"),
    [
        (0, 0, "assessed", None),
        (1, 0, "assessed", None),  # another server of the same run failed: scan-one-of-two-fails
        (0, 1, "assessed", None),  # the same: report-after-one-failed
        (None, 0, "assessed", None),  # packages that an earlier scan collected
        (2, 0, "failed", "scan_incomplete"),
        (3, 0, "failed", "scan_incomplete"),
        (137, 0, "failed", "scan_incomplete"),
        (-1, 0, "failed", "scan_incomplete"),
        (0, 2, "not_assessed", "report_failed"),
        (0, 42, "not_assessed", "report_failed"),
    ],
)
def test_an_exit_status_that_nobody_knows_assesses_nothing(
    scan_exit: int | None, report_exit: int, verdict: str, code: str | None
) -> None:
    judged = judge(scan_exit, report_exit, assessed_with(), [], host="web-3")
    assert (judged.verdict, judged.reason.code if judged.reason else None) == (verdict, code)
    if judged.reason is not None:
        assert f"exit status {scan_exit if verdict == 'failed' else report_exit}" in judged.reason.sentence
        assert "web-3" in judged.reason.sentence
    # Packages that may be incomplete are not stored, so that nobody assesses them again.
    assert (judged.result is None) is (verdict == "failed")


@pytest.mark.parametrize(
    ("limit", "spent", "deadline", "allowed"),
    [
        (None, 50, 10800, Allowance(10800, 180, by_task=False)),
        (30, 0, 10800, Allowance(1800, 30, by_task=True)),
        (30, 50, 10800, Allowance(1750, 30, by_task=True)),
        (30, 5000, 10800, Allowance(0, 30, by_task=True)),
        (300, 50, 10800, Allowance(10800, 180, by_task=False)),
    ],
)
def test_the_shorter_of_both_limits_counts(limit: int | None, spent: int, deadline: int, allowed: Allowance) -> None:
    assert allowance(limit, timedelta(seconds=spent), deadline) == allowed


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
    assert reason.sentence == f"The scan of t1 failed: {said}. The log of the run has Vuls' own words."


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
        assert data["reason"] == {"code": "database_outdated", "sentence": said("database_outdated", "t1")}
        assert {data[severity] for severity in SEVERITIES} == {None}


def test_a_report_that_did_not_run_says_so_however_old_the_database_is() -> None:
    database = Database("sha256:" + "0" * 64, NOW - timedelta(days=20), timedelta(days=20), timedelta(days=14))
    recorded = Recording("report-db-missing")
    judged = judge(0, 1, recorded.result("t1"), recorded.log, host="t1", database=database)
    assert judged.reason is not None
    assert judged.reason.code == "database_missing"
