"""Which entries of the database affect a scanned host, in the form of Vuls's `scannedCves`. No I/O."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from demo_report import dpkg
from demo_report.database import TRACKER, Database, Detection, Entry, Rule

_NEVER = "1000-01-01T00:00:00Z"
_IN_RANGE: dict[str, Callable[[int], bool]] = {
    "lt": lambda order: order < 0,
    "le": lambda order: order <= 0,
    "eq": lambda order: order == 0,
    "ge": lambda order: order >= 0,
    "gt": lambda order: order > 0,
}


def detect(result: dict[str, Any], database: Database) -> dict[str, Any]:
    """Match the packages of a Debian scan result against the database.

    A source package is looked up by its name and version; the finding names those of its binary packages that are
    installed, in the order of their names.
    """
    ecosystem = f"debian:{result['release'].partition('.')[0]}"
    found = {}
    for entry in database.entries:
        for detection in entry.detections:
            if detection.ecosystem != ecosystem or (ecosystem, detection.tag) not in entry.segments:
                continue
            if affected := dict(_affected(detection, result)):
                found[entry.content["id"]] = _finding(entry, detection, affected, database)
    return dict(sorted(found.items()))


def _affected(detection: Detection, result: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    packages = result.get("packages") or {}
    for rule in detection.rules:
        for source in (result.get("SrcPackages") or {}).values():
            if source["name"] == rule.source and _is_vulnerable(rule, source["version"]):
                for name in sorted(set(source["binaryNames"]) & packages.keys()):
                    yield name, _fix_status(rule, name)


def _is_vulnerable(rule: Rule, version: str) -> bool:
    """All versions when there is no fix, else those inside any of the ranges."""
    if rule.ranges is None:
        return True
    return any(
        all(_IN_RANGE[operator](dpkg.compare(version, bound)) for operator, bound in bounds.items())
        for bounds in rule.ranges
    )


def _fix_status(rule: Rule, name: str) -> dict[str, Any]:
    status: dict[str, Any] = {"name": name}
    if rule.not_fixed_yet:
        status |= {"notFixedYet": True, "fixState": rule.fix_state or "Not fixed yet"}
    elif rule.fix_state:
        status["fixState"] = rule.fix_state
    if rule.fixed_in:
        status["fixedIn"] = rule.fixed_in
    return status


def _finding(entry: Entry, detection: Detection, affected: dict[str, Any], database: Database) -> dict[str, Any]:
    cve = entry.content["id"]
    marker = {
        "root_id": entry.root_id,
        "source_id": TRACKER,
        "segment": {"ecosystem": detection.ecosystem, "tag": detection.tag},
    }
    tracker = _content("debian_security_tracker", "https://security-tracker.debian.org/tracker/", entry.content)
    tracker["optional"] = {"vuls2-sources": json.dumps([marker], separators=(",", ":"))}
    contents = {"debian_security_tracker": [tracker]}
    if nvd := database.nvd.get(cve):
        contents["nvd"] = [_content("nvd", "https://nvd.nist.gov/vuln/detail/", nvd)]
    return {
        "cveID": cve,
        "confidences": [{"score": 100, "detectionMethod": "DebianSecurityTrackerMatch"}],
        "affectedPackages": [affected[name] for name in sorted(affected)],
        "cveContents": contents,
    }


def _content(kind: str, link: str, content: dict[str, Any]) -> dict[str, Any]:
    """One source's word on a CVE. Scores are CVSS 3.1 or absent; raises KeyError for any other kind."""
    cvss: dict[str, Any] = next((severity["cvss_v31"] for severity in content.get("severity", [])), {})
    return {
        "type": kind,
        "cveID": content["id"],
        "title": content.get("title", ""),
        "summary": content.get("description", ""),
        "cvss2Score": 0,
        "cvss2Vector": "",
        "cvss2Severity": "",
        "cvss3Score": cvss.get("base_score", 0),
        "cvss3Vector": cvss.get("vector", ""),
        "cvss3Severity": cvss.get("base_severity", ""),
        "cvss40Score": 0,
        "cvss40Vector": "",
        "cvss40Severity": "",
        "sourceLink": link + content["id"],
        "published": content.get("published", _NEVER),
        "lastModified": content.get("modified", _NEVER),
    }
