"""The result file of Vuls (`models.ScanResult`, JSON version 4), read as far as this system needs it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from app.domain.run_log import MASK, mask
from app.domain.severity import Severity, greatest_score, severity_of

DEMO_VERSION = "demo"  # what the local stack's stand-in for `vuls report` calls itself
_NEVER = "0001-01-01"  # Go's zero time: `vuls report` has not rewritten the file
_JSON_VERSION = 4  # models.JSONVersion of Vuls v0.40
# What one result may bring at most. A host that is scanned can lie about its packages, and a database about a CVE.
MAX_FINDINGS = 50_000
MAX_PACKAGES = 100  # of one finding; what is beyond them is left out
MAX_LINKS = 10  # the same
TITLE_LENGTH = 300
NAME_LENGTH = 200  # of a family, a release, a package, a version
LINK_LENGTH = 500
_CVE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,63}")  # not only CVE-…: also what vendors call them
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-_])")  # of a terminal (ECMA-48)
_INTERNAL = re.compile(
    r"""(?x) [\w.+-]+@[\w.:\[\]-]+  # somebody at a host
        | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b
        | (?<![\w:])(?:[0-9A-Fa-f]{1,4}:){3,7}:?[0-9A-Fa-f]{0,4} | (?<![\w:])[0-9A-Fa-f:]{0,30}::[0-9A-Fa-f:]{1,39}
        | (?<![\w/:])~?/(?:[\w.+@-]+/)+[\w.+@-]*"""
)
_LINK = re.compile(r"https?://[!-~]+", re.IGNORECASE)


class BadResultError(ValueError):
    """The result does not have the form that Vuls gives it."""


class OtherVersionError(BadResultError):
    """The result has another major version of the form than the one that this system reads."""


@dataclass(frozen=True, slots=True)
class FoundCve:
    """One entry of `scannedCves`. `score` is None where nobody gave one; `links` lead to those who describe it."""

    cve_id: str
    severity: Severity
    score: float | None
    title: str
    packages: list[dict[str, Any]]
    links: list[str]


@dataclass(frozen=True, slots=True)
class VulsResult:
    """One server's result. `reported` tells whether `vuls report` has matched the packages.

    `reboot_required`: a newer kernel than the running one, `kernel`, is installed.
    """

    server: str
    family: str
    release: str
    kernel: str
    reboot_required: bool
    package_count: int
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    reported: bool
    demo: bool
    findings: tuple[FoundCve, ...]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read a result.

        Fields that are not known are passed over. Texts lose control characters and what exceeds their length.

        Raises:
            OtherVersionError: it is of another major version of Vuls' form.
            BadResultError: a field has a type that Vuls never writes, or there is more than a host can have.
        """
        version = document.get("jsonVersion")
        if type(version) is not int or version != _JSON_VERSION:
            raise OtherVersionError(f"jsonVersion is {_shown(version)}, not {_JSON_VERSION}")
        kernel = _mapping(document, "runningKernel")
        reported_version = _text(document, "reportedVersion")
        reported_at = _text(document, "reportedAt")
        return cls(
            server=_text(document, "serverName"),
            family=_plain(_text(document, "family"), NAME_LENGTH),
            release=_plain(_text(document, "release"), NAME_LENGTH),
            kernel=_plain(_text(kernel, "release"), NAME_LENGTH),
            reboot_required=kernel.get("rebootRequired") is True,
            package_count=len(_mapping(document, "packages")),
            errors=_texts(document, "errors"),
            warnings=_texts(document, "warnings"),
            reported=bool(reported_version) and not reported_at.startswith(_NEVER),
            demo=reported_version == DEMO_VERSION,
            findings=tuple(_findings(_mapping(document, "scannedCves"))),
        )


def package_json(name: str, entry: object) -> dict[str, Any]:
    """Return what is shown of a package as Vuls lists it; `new_version` is the one that it could be updated to."""
    fields = entry if isinstance(entry, Mapping) else {}

    def text(key: str) -> str:
        value = fields.get(key)
        return _plain(value, NAME_LENGTH) if isinstance(value, str) else ""

    def version(number: str, release: str) -> str:
        return "-".join(part for part in (text(number), text(release)) if part)

    installed, newer = version("version", "release"), version("newVersion", "newRelease")
    return {
        "name": _plain(name, NAME_LENGTH),
        "version": installed,
        "new_version": newer if newer and newer != installed else None,
        "arch": text("arch") or None,
        "repository": text("repository") or None,
    }


def without_config(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result without `config`, which holds addresses, users and key paths."""
    return {key: value for key, value in document.items() if key != "config"}


def _shown(value: object) -> str:
    """Return what a message may repeat of a result."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _name(key: str) -> str:
    """Return a field's name for a message: some are the result's own words."""
    return _plain(key, 60)


def _plain(text: str, length: int) -> str:
    """Return `text` in one line of printable characters. HTML stays as it is: whoever shows it escapes it."""
    printable = "".join(character if character.isprintable() else " " for character in text[:length])
    return " ".join(printable.split())


def public(text: str, length: int) -> str:
    """Return words of Vuls for everybody: plain, without users, addresses, paths and secrets."""
    return _plain(_INTERNAL.sub(MASK, mask(_ESCAPE.sub("", text))), length)


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadResultError(f"{_name(key)} is not a text")
    return value


def _texts(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(str(value) for value in _list(document, key))


def _list(document: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = document.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadResultError(f"{_name(key)} is not a list")
    return value


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadResultError(f"{_name(key)} is not an object")
    return value


def _objects(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    values = _list(document, key)
    if not all(isinstance(value, Mapping) for value in values):
        raise BadResultError(f"{_name(key)} holds something other than objects")
    return list(values)


def _findings(cves: Mapping[str, Any]) -> Iterator[FoundCve]:
    if len(cves) > MAX_FINDINGS:
        raise BadResultError(f"it has {len(cves)} findings, more than {MAX_FINDINGS}")
    for cve_id, cve in sorted(cves.items()):
        if not _CVE_ID.fullmatch(cve_id):
            raise BadResultError(f"{_shown(cve_id)} is not the id of a vulnerability")
        if not isinstance(cve, Mapping):
            raise BadResultError(f"{cve_id} is not an object")
        by_source = _mapping(cve, "cveContents")
        contents = [content for source in by_source for content in _objects(by_source, source)]
        words = [_text(advisory, "severity") for advisory in _objects(cve, "distroAdvisories")]
        score = greatest_score(contents, words)
        yield FoundCve(
            cve_id, severity_of(score), score or None, _title(contents), _packages(cve), list(_links(contents))
        )


def _title(contents: Sequence[Mapping[str, Any]]) -> str:
    for key in ("title", "summary"):
        for content in contents:
            text = _plain(_text(content, key), TITLE_LENGTH)
            if text:
                return text
    return ""


def _packages(cve: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": _plain(_text(package, "name"), NAME_LENGTH),
            "fixed_in": _plain(_text(package, "fixedIn"), NAME_LENGTH) or None,
            "not_fixed_yet": package.get("notFixedYet") is True,
        }
        for package in _objects(cve, "affectedPackages")[:MAX_PACKAGES]
    ]


def _links(contents: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Return where the sources describe the CVE, then what they refer to, each once. Only what a browser may follow."""
    own = (_text(content, "sourceLink") for content in contents)
    further = (_text(reference, "link") for content in contents for reference in _objects(content, "references"))
    links = (link for part in (own, further) for link in part if len(link) <= LINK_LENGTH and _LINK.fullmatch(link))
    return islice(dict.fromkeys(links), MAX_LINKS)
