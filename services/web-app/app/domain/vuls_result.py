"""The result file of Vuls (`models.ScanResult`, JSON version 4), read as far as this system needs it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from app.domain.severity import Severity, greatest_score, severity_of

DEMO_VERSION = "demo"  # what the local stack's stand-in for `vuls report` calls itself
_NEVER = "0001-01-01"  # Go's zero time: `vuls report` has not rewritten the file
_TITLE_LENGTH = 300


class BadResultError(ValueError):
    """The result does not have the form that Vuls gives it."""


@dataclass(frozen=True, slots=True)
class FoundCve:
    """One entry of `scannedCves`. `score` is None where nobody gave one."""

    cve_id: str
    severity: Severity
    score: float | None
    title: str
    packages: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class VulsResult:
    """One server's result. `reported` tells whether `vuls report` has matched the packages."""

    server: str
    family: str
    release: str
    package_count: int
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    reported: bool
    demo: bool
    findings: tuple[FoundCve, ...]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read a result.

        Raises:
            BadResultError: a field has a type that Vuls never writes.
        """
        reported_version = _text(document, "reportedVersion")
        reported_at = _text(document, "reportedAt")
        return cls(
            server=_text(document, "serverName"),
            family=_text(document, "family"),
            release=_text(document, "release"),
            package_count=len(_mapping(document, "packages")),
            errors=_texts(document, "errors"),
            warnings=_texts(document, "warnings"),
            reported=bool(reported_version) and not reported_at.startswith(_NEVER),
            demo=reported_version == DEMO_VERSION,
            findings=tuple(_findings(_mapping(document, "scannedCves"))),
        )


def without_config(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result without `config`, which holds addresses, users and key paths."""
    return {key: value for key, value in document.items() if key != "config"}


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadResultError(f"{key} is not a text")
    return value


def _texts(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(str(value) for value in _list(document, key))


def _list(document: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = document.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadResultError(f"{key} is not a list")
    return value


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadResultError(f"{key} is not an object")
    return value


def _objects(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    values = _list(document, key)
    if not all(isinstance(value, Mapping) for value in values):
        raise BadResultError(f"{key} holds something other than objects")
    return list(values)


def _findings(cves: Mapping[str, Any]) -> Iterator[FoundCve]:
    for cve_id, cve in sorted(cves.items()):
        if not isinstance(cve, Mapping):
            raise BadResultError(f"{cve_id} is not an object")
        by_source = _mapping(cve, "cveContents")
        contents = [content for source in by_source for content in _objects(by_source, source)]
        words = [_text(advisory, "severity") for advisory in _objects(cve, "distroAdvisories")]
        score = greatest_score(contents, words)
        yield FoundCve(cve_id, severity_of(score), score or None, _title(contents), _packages(cve))


def _title(contents: Sequence[Mapping[str, Any]]) -> str:
    for key in ("title", "summary"):
        for content in contents:
            text = _text(content, key).strip()
            if text:
                return text[:_TITLE_LENGTH]
    return ""


def _packages(cve: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": _text(package, "name"),
            "fixed_in": _text(package, "fixedIn") or None,
            "not_fixed_yet": package.get("notFixedYet") is True,
        }
        for package in _objects(cve, "affectedPackages")
    ]
