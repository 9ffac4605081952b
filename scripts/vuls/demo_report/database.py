"""The demo database: whether it is there, whether it is one, and what it says.

`[vuls2] Path` is the file that Vuls itself would read, or a directory of the sources that such a file is made of. Both
say the same; the file is what a scan host has, so that replacing it by a rename works as it does with Vuls.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_report import bolt
from demo_report.config import Config
from demo_report.goerror import database_missing, database_not_fetched, database_unreadable

TRACKER = "debian-security-tracker-salsa"
NVD = "nvd-feed-cve-v2"

# The demo database has 128 KiB; a real one, of gigabytes, is none of the double's business.
_LARGEST = 64 * 1024 * 1024


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
    try:
        return _from_sources(path) if path.is_dir() else _from_file(path)
    except bolt.BoltError as error:
        raise database_unreadable(str(path), " ".join(map(str, error.args))) from error
    except OSError as error:
        raise database_unreadable(str(path), f"open {path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise database_unreadable(str(path), f"the stand-in for vuls report cannot read it: {error!r}") from error


def _from_file(path: Path) -> Database:
    if path.stat().st_size > _LARGEST:
        raise ValueError("not a demo database: too large")
    tree: dict[str, Any] = bolt.read(path)
    contents = {cve: json.loads(value) for cve, value in tree["vulnerability"]["vulnerability"].items()}
    detections: dict[str, list[Detection]] = {}
    for ecosystem in sorted(name for name in tree if name.startswith("debian:")):
        for root, value in tree[ecosystem]["detection"].items():
            conditions = _only_tracker(json.loads(value))
            detections.setdefault(root, []).extend(_detection(ecosystem, condition) for condition in conditions)
    return Database(
        entries=tuple(
            _entry(root, _only(_only(list(contents[root][TRACKER].values()))), found)
            for root, found in sorted(detections.items())
        ),
        nvd={
            cve: _only(_only(list(sources[NVD].values())))["content"]
            for cve, sources in contents.items()
            if NVD in sources
        },
    )


def _from_sources(path: Path) -> Database:
    entries = [
        _entry(
            document["id"],
            _only(document["vulnerabilities"]),
            [
                _detection(detection["ecosystem"], condition)
                for detection in document["detections"]
                for condition in detection["conditions"]
            ],
        )
        for document in _documents(path / TRACKER)
    ]
    nvd = {document["id"]: _only(document["vulnerabilities"])["content"] for document in _documents(path / NVD)}
    if not entries or not nvd:
        raise ValueError("no demo sources in the directory")
    return Database(tuple(entries), nvd)


def _documents(directory: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((directory / "data").glob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def _only_tracker(by_source: dict[str, Any]) -> list[dict[str, Any]]:
    if by_source.keys() != {TRACKER}:
        raise ValueError("the stand-in knows no detections but the tracker's", sorted(by_source))
    conditions: list[dict[str, Any]] = by_source[TRACKER]
    return conditions


def _entry(root_id: str, vulnerability: dict[str, Any], detections: list[Detection]) -> Entry:
    return Entry(
        root_id=root_id,
        content=vulnerability["content"],
        segments=frozenset((segment["ecosystem"], segment["tag"]) for segment in vulnerability["segments"]),
        detections=tuple(detections),
    )


def _detection(ecosystem: str, condition: dict[str, Any]) -> Detection:
    return Detection(ecosystem=ecosystem, tag=condition["tag"], rules=_rules(condition["criteria"]))


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
