"""Severities are those that Vuls itself counts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.severity import Severity, greatest_score, severity_of
from app.domain.vuls_result import VulsResult
from tests.recordings import Recording


@pytest.mark.parametrize(
    ("contents", "score"),
    [
        ([], 0.0),
        ([{"cvss3Score": 5.5}, {"cvss3Score": 9.8}], 9.8),
        ([{"cvss40Score": 4.2, "cvss3Score": 9.8}], 4.2),
        ([{"cvss2Score": 7.5}], 7.5),
        ([{"cvss2Score": 10, "cvss3Score": 3.1}], 3.1),
        ([{"cvss3Severity": "critical"}], 10.0),
        ([{"cvss3Severity": "IMPORTANT"}], 8.9),
        ([{"cvss3Severity": "Moderate"}], 6.9),
        ([{"cvss3Severity": "negligible"}], 3.9),
        ([{"cvss3Severity": "unimportant"}], 0.0),
        ([{"cvss3Score": 5.0, "cvss3Severity": "CRITICAL"}], 5.0),
        ([{"cvss3Score": "9.8"}], 0.0),
        ([{"cvss3Score": 98}, {"cvss2Score": 5.0}], 5.0),
        ([{"cvss3Score": 1e308, "cvss3Severity": "LOW"}], 3.9),
        ([{"cvss3Score": -1, "cvss2Score": float("nan")}], 0.0),
        ([{"cvss3Score": None, "cvss3Severity": None}], 0.0),
    ],
)
def test_version_4_decides_then_3_with_vendors_words_then_2(contents: list[dict[str, Any]], score: float) -> None:
    assert greatest_score(contents) == score


def test_an_advisorys_word_counts_as_a_score_of_version_3() -> None:
    assert greatest_score([{"cvss2Score": 2.0}], ["Important"]) == 8.9


@pytest.mark.parametrize(
    ("score", "severity"),
    [
        (10, "critical"),
        (9, "critical"),
        (8.9, "high"),
        (7, "high"),
        (6.9, "medium"),
        (4, "medium"),
        (3.9, "low"),
        (0.1, "low"),
        (0, "unknown"),
    ],
)
def test_the_thresholds_are_those_of_cvss(score: float, severity: str) -> None:
    assert severity_of(score) == severity


@given(st.lists(st.floats(0, 10)))
def test_the_greatest_score_never_grows_smaller_by_another_source(scores: list[float]) -> None:
    contents = [{"cvss3Score": score} for score in scores]
    assert greatest_score([*contents, {"cvss3Score": 4.0}]) >= greatest_score(contents)


def test_the_recorded_findings_carry_title_score_and_packages() -> None:
    findings = {cve.cve_id: cve for cve in VulsResult.parse(Recording("report-ok").result("t1")).findings}
    first = findings["CVE-2099-0001"]
    assert (first.severity, first.score, first.title) == (Severity.CRITICAL, 9.8, "Demo: buffer overflow in inflate")
    assert first.packages == [{"name": "zlib1g", "fixed_in": None, "not_fixed_yet": True}]
    assert findings["CVE-2099-0002"].packages[0] == {"name": "libssl3", "fixed_in": "99:0", "not_fixed_yet": False}
    assert [cve.score for cve in findings.values() if cve.severity is Severity.UNKNOWN] == [None]
