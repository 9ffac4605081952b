"""The files that `vuls scan` leaves and `vuls report` rewrites."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from demo_report.goerror import Link, ReportError, ResultsError, chain

Result = dict[str, Any]

_READ_FAILED = "Failed to read from JSON: "
_DIRECTORY_FORMATS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H-%M-%S%z")


def newest_directory(results_dir: Path) -> Path:
    """Return the directory of the latest scan. Raises ReportError when there is none."""
    try:
        names = [path.name for path in results_dir.iterdir() if path.is_dir() and _is_scan_time(path.name)]
    except OSError as error:
        link = Link(f"Failed to read {results_dir}", "reporter.ListValidJSONDirs", "reporter/util.go:99")
        cause = Link(f"open {results_dir}: {_reason(error)}")
        raise ReportError(_READ_FAILED + chain(link, cause)) from error
    if not names:
        link = Link(f"No results under {results_dir}", "reporter.JSONDir", "reporter/util.go:159")
        raise ReportError(_READ_FAILED + chain(link))
    return results_dir / max(names)


def load(directory: Path) -> dict[Path, Result]:
    """Read every server's result, in the order of the file names. Raises ReportError."""
    paths = sorted(path for path in directory.glob("*.json") if not path.name.endswith("_diff.json"))
    if not paths:
        raise ResultsError("There is no json file under", directory)
    return {path: _load_one(path) for path in paths}


def rewrite(path: Path, result: Result) -> None:
    """Replace a result file in one step, readable by its owner only."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(json.dumps(result, indent=4, ensure_ascii=False), encoding="utf-8")
    draft.chmod(0o600)
    draft.replace(path)


def _load_one(path: Path) -> Result:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError("Failed to read", path, _reason(error)) from error
    except ValueError as error:
        raise ResultsError("Failed to parse", path, str(error)) from error
    if not isinstance(result, dict) or not isinstance(result.get("serverName"), str):
        raise ResultsError("Failed to parse", path, "not a scan result")
    return result


def _is_scan_time(name: str) -> bool:
    for layout in _DIRECTORY_FORMATS:
        try:
            datetime.strptime(name, layout)  # noqa: DTZ007  # only the form matters
        except ValueError:
            continue
        return True
    return False


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
