"""What a scan is worth: assessed, not assessed, or failed, and why, in a sentence with a next step.

| status  | verdict      | counts                                       |
|---------|--------------|----------------------------------------------|
| success | assessed     | numbers; the severities add up to the total  |
| success | not_assessed | null: packages collected but not matched     |
| failed  | failed       | null: no usable scan                         |

A connection test that worked has no verdict: it says nothing about vulnerabilities.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from app.domain.remedies import (
    DEPLOY_EXECUTOR,
    DEPLOY_VULS,
    check,
    log_of,
    reassess,
    refresh_target,
    remove_target,
)
from app.domain.severity import Severity
from app.domain.time_limit import Allowance
from app.domain.vuls_result import BadResultError, OtherVersionError, VulsResult, public

# Families whose packages `vuls report` v0.40 can match against its database (constant/constant.go).
SUPPORTED_FAMILIES = frozenset(
    {
        "redhat", "debian", "ubuntu", "centos", "alma", "rocky", "fedora", "amazon", "oracle", "freebsd", "raspbian",
        "alpine", "windows", "opensuse", "opensuse.leap", "opensuse.tumbleweed", "suse.linux.enterprise.server",
        "suse.linux.enterprise.desktop", "macos", "macos_server", "macosx", "macosx_server",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a host was not assessed: a code for programs, a sentence for people."""

    code: str
    sentence: str

    def as_json(self) -> dict[str, str]:
        """Return the form that travels."""
        return {"code": self.code, "sentence": self.sentence}


@dataclass(frozen=True, slots=True)
class Database:
    """The vulnerability database that packages were matched against.

    `digest` is its checksum, `modified_at` when its maker last changed it, `age` how long ago that was at the match,
    and `limit` how old it may have been; None for any age.
    """

    digest: str
    modified_at: datetime
    age: timedelta
    limit: timedelta | None = None

    @property
    def is_outdated(self) -> bool:
        """Tell whether it was too old to say that a host has no vulnerabilities."""
        return self.limit is not None and self.age > self.limit


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a run. `counts` is there exactly when it is `assessed`, `reason` when it is not.

    Without a verdict it is that of a connection test that worked.
    """

    verdict: Literal["assessed", "not_assessed", "failed"] | None
    counts: Mapping[Severity, int] | None = None
    reason: Reason | None = None
    demo: bool = False
    result: VulsResult | None = field(default=None, repr=False)
    database: Database | None = None

    @property
    def status(self) -> Literal["success", "failed"]:
        """The status of the run that ended so."""
        return "failed" if self.verdict == "failed" else "success"

    def result_data(self, scan_id: int | None) -> dict[str, Any]:
        """Return what the run and its event say."""
        if self.verdict is None:
            return {}
        data: dict[str, Any] = {
            "scan_id": scan_id,
            "verdict": self.verdict,
            "vulnerabilities": None if self.counts is None else sum(self.counts.values()),
        }
        data |= {str(severity): None if self.counts is None else self.counts.get(severity, 0) for severity in Severity}
        if self.reason is not None:
            data["reason"] = self.reason.as_json()
        if self.demo:
            data["demo"] = True
        return data


@dataclass(frozen=True, slots=True)
class _Rule:
    """Vuls's words, the code they stand for and the sentence, in which `_Subject.fill` puts what stands in braces."""

    pattern: re.Pattern[str]
    code: str
    sentence: str


def _rule(pattern: str, code: str, sentence: str) -> _Rule:
    return _Rule(re.compile(pattern, re.IGNORECASE), code, sentence)


# In order of what they tell: the first that matches wins.
_SCAN_RULES = (
    _rule(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|known_hosts.*changed",
        "host_key_changed",
        "The SSH host key of {host} is not the one on record. If the host was reinstalled, run {refresh} to record its"
        " new key; if not, find out who answers at its address.",
    ),
    _rule(
        r"known_hosts|Host key verification failed|No .* host key is known",
        "unknown_host_key",
        "The SSH host key of {host} is not known to the scan host. Run {refresh} to record it.",
    ),
    _rule(
        r"Permission denied \(|Permission denied, please try again|Too many authentication failures",
        "permission_denied",
        "{host} refused the scan user's SSH key (permission denied). Run {refresh} to install the key again.",
    ),
    _rule(
        r"(?P<detail>Could not resolve hostname|Name or service not known|Temporary failure in name resolution)",
        "unreachable",
        "The address of {host} could not be resolved. Correct the DNS of the scan host, or scan_target_address in the"
        " inventory; after that run {refresh}.",
    ),
    _rule(
        r"(?P<detail>No route to host|Connection refused|Connection timed out|Operation timed out"
        r"|Network is unreachable|Cannot assign requested address"
        r"|Connection reset by peer|Connection closed by|kex_exchange_identification)",
        "unreachable",
        "{host} could not be reached over SSH ({detail}). Check that it is running, that its SSH server listens, and"
        " that no firewall stands between it and the scan host; {check} tries it without a scan.",
    ),
    _rule(
        r"Timed out|context deadline exceeded",
        "scan_timeout",
        "{host} did not answer in time. Check its load and its network; {check} tries it without a scan.",
    ),
    _rule(
        r"sudo: |NOPASSWD|sudo .*(fail|not allowed)",
        "sudo_denied",
        "{host} does not let the scan user run a command with sudo. Allow it in sudoers, or give its task the scan_type"
        " fast in the inventory and run {refresh}.",
    ),
    _rule(
        r"Unknown OS|Failed to detect OS|unsupported OS",
        "unsupported_family",
        "Vuls does not know the operating system of {host}, so it cannot be scanned. {remove} takes it away from the"
        " scans.",
    ),
    _rule(
        r"is not in config",
        "unknown_server",
        "The scan host has no target called {host}. Run {refresh} to add it.",
    ),
    _rule(
        r"keypath: .* not exists",
        "missing_key",
        "The scan host has no SSH key to scan with. Run {deploy_executor} to install it.",
    ),
    _rule(
        r"Unable to connect via SSH",
        "unreachable",
        "The scan host could not log in to {host} over SSH. Run {refresh} to set its address, host key and user again;"
        " {log} has SSH's own words.",
    ),
    _rule(
        r"Error loading .*toml|toml: |is \*?invalid|must be a \*?Absolute|Failed to validate",
        "bad_configuration",
        "Vuls refused its configuration. {log} says why; correct the variables of the roles vuls and executor, then run"
        " {deploy_executor}.",
    ),
)

# 1 is that of a run in which some server failed: the result of each says which. Of other statuses that come with a
# result nobody knows what they mean, and a list of packages that is cut short would look like a host without findings.
_KNOWN_EXITS = frozenset({0, 1})
_REPORT_RULES = (
    _rule(
        r"not found, cannot skip update|no such file or directory",
        "database_missing",
        "The packages of {host} were collected but not matched: the vulnerability database is missing on the scan host."
        " Run {deploy_vuls} to bring it, then {reassess}.",
    ),
    _rule(
        r"Failed to fetch vuls2 db",
        "database_not_fetched",
        "The packages of {host} were collected but not matched: the vulnerability database could not be fetched. Check"
        " the scan host's way to its source and run {deploy_vuls}, then {reassess}.",
    ),
    _rule(
        r"schema version",
        "database_incompatible",
        "The packages of {host} were collected but not matched: the vulnerability database is of another version than"
        " Vuls. Run {deploy_vuls} to bring the one that belongs to this release, then {reassess}.",
    ),
    _rule(
        r"Failed to open vuls2 db|file size too small|invalid database|checksum|corrupt",
        "database_corrupt",
        "The packages of {host} were collected but not matched: the vulnerability database is corrupt."
        " Run {deploy_vuls} to replace it, then {reassess}.",
    ),
)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a sentence is about: the host, and the run whose log has the programs' own words."""

    host: str
    run_id: int | None

    @property
    def log(self) -> str:
        return log_of(self.run_id)

    @property
    def more(self) -> str:
        return f"{self.log} has Vuls' own words."

    def fill(self, sentence: str, **more: str) -> str:
        """Return a rule's sentence with the names and commands that it asks for."""
        host = self.host
        return sentence.format(
            host=host,
            log=self.log,
            refresh=refresh_target(host),
            remove=remove_target(host),
            check=check(host),
            reassess=reassess(host),
            deploy_vuls=DEPLOY_VULS,
            deploy_executor=DEPLOY_EXECUTOR,
            **more,
        )


def failed(code: str, sentence: str) -> Verdict:
    """Return the verdict of a run that brought nothing back."""
    return Verdict("failed", reason=Reason(code, sentence))


def took_too_long(host: str, run_id: int, allowed: Allowance) -> Verdict:
    """Return the verdict of a run that was ended because it took longer than it may."""
    minutes = "1 minute" if allowed.minutes == 1 else f"{allowed.minutes} minutes"
    look = f"{log_of(run_id)} shows how far it came"
    if allowed.by_task:
        return failed(
            "task_time_limit",
            f"The scan of {host} was ended after {minutes}, the time limit of its task. {look}; if the host needs"
            " longer, raise time_limit_minutes of the task, then run it again.",
        )
    return failed(
        "scan_timeout",
        f"The scan of {host} was ended after {minutes}, which is as long as its worker lets any scan go on. {look};"
        " check the load and the network of the host, then run it again.",
    )


def judge(  # noqa: PLR0913  (what a job brings, and whose it is)
    scan_exit: int | None,
    report_exit: int | None,
    result: Mapping[str, Any] | None,
    log: Sequence[str],
    error: Reason | None = None,
    host: str = "the host",
    database: Database | Literal["unknown"] | None = None,
    *,
    run_id: int | None = None,
) -> Verdict:
    """Return what a scan is worth.

    The exit statuses are None for a program that did not run to its end; `result` is the server's result file, None
    when there is none; `log` holds the last lines of both programs' standard error. `error` says why the executor
    could not run them to the end, and goes before anything the log says, and before what a report that was cut short
    has found. `database` is what the report was given; None where there was none, or where its age does not matter;
    "unknown" where it matters and nobody knows it. `run_id` is of the run whose log has all that the programs said.
    """
    about = _Subject(host, run_id)
    text = _unescaped(log)
    if result is None:
        return Verdict("failed", reason=error or _why_no_result(scan_exit, text, about))
    try:
        read = VulsResult.parse(result)
    except BadResultError as bad:
        return _unreadable(bad, host)
    unusable = _why_unusable(read, scan_exit, error, about)
    if unusable is not None:
        return Verdict("failed", reason=unusable)
    reason = _why_not_assessed(read, report_exit, text, error, about)
    if database == "unknown":
        reason, database = reason or (None if read.demo else _of_unknown_age(host)), None
    reason = reason or _outdated(database, host)
    if reason is not None:
        return Verdict("not_assessed", reason=reason, demo=read.demo, result=read, database=database)
    counts = Counter(finding.severity for finding in read.findings)
    return Verdict("assessed", counts=counts, demo=read.demo, result=read, database=database)


def judge_check(
    exit_status: int | None, log: Sequence[str], error: Reason | None, host: str, run_id: int | None = None
) -> Verdict:
    """Return what a connection test is worth; the parameters are as those of `judge`."""
    if error is None and exit_status == 0:
        return Verdict(None)
    about = _Subject(host, run_id)
    explained = error or _explain(_SCAN_RULES, _unescaped(log), about)
    return Verdict("failed", reason=explained or _check_failed(exit_status, about))


def _check_failed(exit_status: int | None, about: _Subject) -> Reason:
    return Reason("check_failed", f"{about.host} cannot be scanned (exit status {exit_status}). {about.more}")


def _unescaped(log: Sequence[str]) -> str:
    """Return what was said, without the escapes of Go's logger."""
    return "\n".join(log).replace("\\n", "\n").replace('\\"', '"')


def _unreadable(bad: BadResultError, host: str) -> Verdict:
    if isinstance(bad, OtherVersionError):
        return failed(
            "other_version",
            f"The result of {host} is from another version of Vuls ({bad}). Run {DEPLOY_VULS} to deploy the version"
            " that belongs to this release.",
        )
    return failed(
        "bad_result",
        f"The result of {host} cannot be read ({bad}). Run {DEPLOY_VULS} to deploy the version of Vuls that belongs to"
        " this release, then run the scan again.",
    )


def _explain(rules: Iterable[_Rule], text: str, about: _Subject) -> Reason | None:
    for rule in rules:
        match = rule.pattern.search(text)
        if match is not None:
            return Reason(rule.code, about.fill(rule.sentence, **match.groupdict()))
    return None


def stopped(host: str) -> Reason:
    """Return the reason of a scan that somebody ended from outside."""
    return Reason("scan_stopped", f"The scan of {host} was stopped before it ended. Press Run to scan it again.")


def _why_no_result(scan_exit: int | None, text: str, about: _Subject) -> Reason:
    if scan_exit in {137, 143}:  # killed, terminated
        return stopped(about.host)
    return _explain(_SCAN_RULES, text, about) or Reason(
        "no_result", f"The scan of {about.host} ended without a result (exit status {scan_exit}). {about.more}"
    )


def _scan_failed(result: VulsResult, about: _Subject) -> Reason:
    words = result.errors[0].strip().split("\n", 1)[0]
    first_line = public(words, 200).rstrip(":. ") or "Vuls gave no reason"
    return Reason("scan_failed", f"The scan of {about.host} failed: {first_line}. {about.more}")


def _why_unusable(read: VulsResult, scan_exit: int | None, error: Reason | None, about: _Subject) -> Reason | None:
    if read.errors:
        return _explain(_SCAN_RULES, "\n".join(read.errors), about) or _scan_failed(read, about)
    if read.package_count == 0:
        return error or _no_packages(read, about)
    if scan_exit is not None and scan_exit not in _KNOWN_EXITS:
        return error or _incomplete(scan_exit, about)
    return None


def _incomplete(scan_exit: int, about: _Subject) -> Reason:
    return Reason(
        "scan_incomplete",
        f"The scan of {about.host} ended in a way that Vuls does not document (exit status {scan_exit}), so its list of"
        f" packages may be incomplete and was not kept. {about.more}",
    )


def _no_packages(result: VulsResult, about: _Subject) -> Reason:
    if result.family not in SUPPORTED_FAMILIES:
        return _unsupported(result, about.host)
    return Reason("no_packages", f"The scan of {about.host} brought back no packages. {about.more}")


def _unsupported(result: VulsResult, host: str) -> Reason:
    system = f"{result.family} {result.release}".strip() or "unknown"
    return Reason(
        "unsupported_family",
        f"Vuls cannot assess the operating system of {host} ({system}). {remove_target(host)} takes it away from the"
        " scans.",
    )


def _why_not_assessed(
    result: VulsResult, report_exit: int | None, text: str, error: Reason | None, about: _Subject
) -> Reason | None:
    host, warnings = about.host, "\n".join(result.warnings)
    if result.family not in SUPPORTED_FAMILIES or "Failed to check EOL" in warnings:
        return _unsupported(result, host)
    if error is not None:
        return error
    if not result.reported:
        return _explain(_REPORT_RULES, text, about) or _not_reported(report_exit, about)
    if report_exit is not None and report_exit not in _KNOWN_EXITS:
        return _not_reported(report_exit, about)
    if "Standard OS support is EOL" in warnings and "Extended support available until" not in warnings:
        return Reason(
            "end_of_life",
            f"{result.family} {result.release} on {host} is past its end of life: nobody lists its vulnerabilities any"
            " more. Upgrade its operating system, then press Run to scan it again.",
        )
    return None


def _outdated(database: Database | None, host: str) -> Reason | None:
    if database is None or database.limit is None or not database.is_outdated:
        return None
    return Reason(
        "database_outdated",
        f"The packages of {host} were matched against a vulnerability database that is {database.age.days} days old,"
        f" more than the limit of {database.limit.days} days: newer vulnerabilities are missing. Run {DEPLOY_VULS} to"
        f" bring a newer one to the scan host, then {reassess(host)}.",
    )


def _of_unknown_age(host: str) -> Reason:
    return Reason(
        "database_age_unknown",
        f"The packages of {host} were matched against a vulnerability database whose age cannot be told, so newer"
        " vulnerabilities may be missing. `journalctl -u vuls-executor` on the scan host says why; run"
        f" {DEPLOY_VULS} to replace the database, then {reassess(host)}.",
    )


def _not_reported(report_exit: int | None, about: _Subject) -> Reason:
    host = about.host
    if report_exit is None:
        return Reason(
            "report_not_run",
            f"The packages of {host} were collected but not matched: vuls report did not run. Run {reassess(host)}.",
        )
    return Reason(
        "report_failed",
        f"The packages of {host} were collected but not matched: vuls report failed (exit status {report_exit})."
        f" {about.more} After mending what they name, run {reassess(host)}.",
    )
