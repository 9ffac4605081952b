"""The demo database: where it is, whether it is one, and what its sources say.

`[vuls2] Path` is either a directory of sources, or the file that Vuls itself would read. Of such a file only the
header is checked; what it holds is read from the sources beside it: in a directory named like the file without its
suffix (`base.db` and `base/`), else in one named `demo-db`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_report.config import Config
from demo_report.goerror import database_missing, database_not_fetched, database_unreadable

TRACKER = "debian-security-tracker-salsa"
NVD = "nvd-feed-cve-v2"

_PAGE = 4096
_META_OFFSET = 16
_META_SIZE = 56
_BOLT_START = bytes.fromhex("edda0ced 02000000")


@dataclass(frozen=True)
class Rule:
    """A source package that is affected: in all versions, or in those that lie in one of `ranges`."""

    source: str
    ranges: tuple[dict[str, str], ...] | None
    fixed_in: str
    fix_state: str
    not_fixed_yet: bool


@dataclass(frozen=True)
class Detection:
    """The rules of one CVE for one release; any of them suffices."""

    ecosystem: str
    tag: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Entry:
    """One CVE of the tracker: what it is, whom it affects."""

    root_id: str
    content: dict[str, Any]
    segments: frozenset[tuple[str, str]]
    detections: tuple[Detection, ...]


@dataclass(frozen=True)
class Database:
    """The tracker's entries and, by CVE, what the NVD says."""

    entries: tuple[Entry, ...]
    nvd: dict[str, dict[str, Any]]


def open_database(config: Config) -> Database:
    """Find, check and read the database. Raises DatabaseError, whose chain is the one that Vuls would log."""
    path = config.database
    if not path.exists():
        raise database_missing(str(path)) if config.skip_update else database_not_fetched(config.repository)
    if path.is_file():
        _check_bolt(path)
    sources = _sources(path)
    try:
        return Database(
            entries=tuple(map(_entry, _documents(sources / TRACKER))),
            nvd={
                document["id"]: _only(document["vulnerabilities"])["content"] for document in _documents(sources / NVD)
            },
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise database_unreadable(str(path), f"demo sources in {sources}: {error!r}") from error


def _check_bolt(path: Path) -> None:
    """Refuse what bbolt would refuse to open: too short, or neither of the two meta pages is valid."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(2 * _PAGE)
    except OSError as error:
        raise database_unreadable(str(path), f"open {path}: {error.strerror}") from error
    if size < 2 * _PAGE:
        raise database_unreadable(str(path), f"file size too small {size}")
    if not any(_is_meta(head[start : start + _PAGE]) for start in (0, _PAGE)):
        raise database_unreadable(str(path), "invalid database")


def _is_meta(page: bytes) -> bool:
    meta = page[_META_OFFSET : _META_OFFSET + _META_SIZE]
    checksum = page[_META_OFFSET + _META_SIZE :][:8]
    return meta.startswith(_BOLT_START) and _fnv1a(meta) == int.from_bytes(checksum, "little")


def _fnv1a(data: bytes) -> int:
    """64-bit FNV-1a, the checksum of a bbolt meta page."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def _sources(path: Path) -> Path:
    candidates = [path] if path.is_dir() else [path.with_suffix(""), path.parent / "demo-db"]
    for candidate in candidates:
        if (candidate / TRACKER).is_dir() and (candidate / NVD).is_dir():
            return candidate
    searched = " or ".join(map(str, candidates))
    raise database_unreadable(str(path), f"the stand-in for vuls report found no demo sources in {searched}")


def _documents(directory: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((directory / "data").glob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def _entry(document: dict[str, Any]) -> Entry:
    vulnerability = _only(document["vulnerabilities"])
    return Entry(
        root_id=document["id"],
        content=vulnerability["content"],
        segments=frozenset((segment["ecosystem"], segment["tag"]) for segment in vulnerability["segments"]),
        detections=tuple(
            Detection(
                ecosystem=detection["ecosystem"],
                tag=condition["tag"],
                rules=_rules(condition["criteria"]),
            )
            for detection in document["detections"]
            for condition in detection["conditions"]
        ),
    )


def _rules(criteria: dict[str, Any]) -> tuple[Rule, ...]:
    if criteria["operator"] != "OR" or criteria.get("criterias"):
        raise ValueError("the stand-in knows flat OR criteria only")
    return tuple(_rule(criterion) for criterion in criteria["criterions"])


def _rule(criterion: dict[str, Any]) -> Rule:
    version = criterion["version"]
    affected = version.get("affected")
    if (
        criterion["type"] != "version"
        or version["package"]["type"] != "source"
        or not version["vulnerable"]
        or (affected and affected["type"] != "dpkg")
    ):
        raise ValueError("the stand-in knows rules about vulnerable Debian source packages only")
    status = version["fix_status"]
    return Rule(
        source=version["package"]["source"]["name"],
        ranges=tuple(affected["range"]) if affected else None,
        fixed_in=_only(affected["fixed"]) if affected and affected.get("fixed") else "",
        fix_state=status.get("vendor", ""),
        not_fixed_yet=status["class"] != "fixed",
    )


def _only(items: list[Any]) -> Any:  # noqa: ANN401  # JSON
    if len(items) != 1:
        raise ValueError("the stand-in knows lists of exactly one item here", items)
    return items[0]
