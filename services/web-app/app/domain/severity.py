"""Severity as Vuls itself counts it (`models.ScanResult.FormatCveSummary`, v0.40)."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

# What a vendor's word is worth as a CVSS v3 score (Vuls: severityToCvssScoreRoughly).
_WORDS = {
    "CRITICAL": 10.0,
    "IMPORTANT": 8.9,
    "HIGH": 8.9,
    "MODERATE": 6.9,
    "MEDIUM": 6.9,
    "LOW": 3.9,
    "NEGLIGIBLE": 3.9,
}
_LEAST_SCORE = 0.1
_THRESHOLDS = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"))


class Severity(StrEnum):
    """The five classes; every finding is in exactly one."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    UNKNOWN = "unknown"


def _number(value: object) -> float:
    """Return a CVSS score; what cannot be one counts as none."""
    possible = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 10
    return float(value) if possible else 0.0  # type: ignore[arg-type]  # a number, see above


def _scores(contents: Iterable[Mapping[str, Any]], version: str) -> Iterator[float]:
    for content in contents:
        score = _number(content.get(f"cvss{version}Score"))
        if version == "3" and score == 0:
            score = _WORDS.get(str(content.get("cvss3Severity", "")).upper(), 0.0)
        yield score


def greatest_score(contents: Iterable[Mapping[str, Any]], advisory_words: Iterable[str] = ()) -> float:
    """Return the score that decides: the greatest of CVSS v4.0, else of v3, else of v2; 0 where nobody gave one.

    `contents` are all entries of a CVE's `cveContents`, `advisory_words` the severities of its distribution's
    advisories. A vendor's word counts as a v3 score.
    """
    entries = list(contents)
    by_words = [_WORDS.get(word.upper(), 0.0) for word in advisory_words]
    for version, more in (("40", []), ("3", by_words), ("2", [])):
        best = max([*_scores(entries, version), *more], default=0.0)
        if best >= _LEAST_SCORE:
            return best
    return 0.0


def severity_of(score: float) -> Severity:
    """Return the class of a CVSS score; 0 means that nobody gave one."""
    for threshold, name in _THRESHOLDS:
        if score >= threshold:
            return Severity(name)
    return Severity.LOW if score > 0 else Severity.UNKNOWN
