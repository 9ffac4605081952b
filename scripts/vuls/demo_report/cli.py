"""The command line of the double: the part of `vuls report` that this project calls."""

import argparse
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import demo_report
from demo_report import config as configuration
from demo_report import results
from demo_report.database import open_database
from demo_report.detect import detect
from demo_report.goerror import DatabaseError, ReportError, detection_failed, family_unsupported
from demo_report.golog import GoLog
from demo_report.results import Result

VERSION = "demo"
REVISION = "stand-in"
CONFIDENCE_OVER = 80

_FAILURE = 1
_USAGE = 2


def main(arguments: list[str]) -> int:
    """Run the report. Returns the exit status of Vuls: 0 all assessed, 1 something was not, 2 wrong call."""
    options = _parser().parse_args(arguments)
    journal = GoLog(sys.stderr)
    journal.info(f"vuls-{VERSION}-{REVISION}")
    try:
        config = configuration.load(options.config)
    except configuration.ConfigError as error:
        journal.error(f"Error loading {options.config}. err: {error}")
        return _USAGE
    try:
        directory = results.newest_directory(options.results_dir)
        journal.info("Validating config...")
        if not options.results_dir.is_absolute():
            journal.error(f"JSON base directory must be a *Absolute* file path. -results-dir: {options.results_dir}")
            return _USAGE
        loaded = results.load(directory)
        journal.info(f"Loaded: {directory}")
        return _report(loaded, config, options, journal)
    except ReportError as error:
        journal.error(str(error))
        return _FAILURE


def _report(
    loaded: dict[Path, Result], config: configuration.Config, options: argparse.Namespace, journal: GoLog
) -> int:
    """Assess what was scanned without errors; all or nothing is written, as Vuls does."""
    usable = {path: result for path, result in loaded.items() if not result.get("errors")}
    for result in loaded.values():
        if errors := result.get("errors"):
            journal.error(
                f"Ignored since errors occurred during scanning: {result['serverName']}, err: [{' '.join(errors)}]"
            )
    if not usable:
        return _FAILURE
    reported_at = _now()
    for result in usable.values():
        if any(cve.get("cveContents") for cve in (result.get("scannedCves") or {}).values()):
            journal.info("No need to refresh")
            continue
        _assess(result, config, journal)
        result |= {
            "lang": "en",
            "reportedAt": reported_at,
            "reportedVersion": VERSION,
            "reportedRevision": REVISION,
            "reportedBy": socket.gethostname(),
        }
        result.setdefault("config", {})["report"] = _report_config(result["serverName"], config, options)
    for path, result in usable.items():
        results.rewrite(path, result)
    for result in usable.values():
        journal.info(f"{_display_name(result)}: total {len(result['scannedCves'])} CVEs detected")
        journal.info(f"{_display_name(result)}: 0 CVEs filtered by --confidence-over={CONFIDENCE_OVER}")
    return 0 if len(usable) == len(loaded) else _FAILURE


def _assess(result: Result, config: configuration.Config, journal: GoLog) -> None:
    """Fill `scannedCves`, or note in `errors` why the result cannot be assessed. Raises ReportError."""
    server = _display_name(result)
    family, release = result.get("family", ""), result.get("release", "")
    result["scannedCves"] = {}
    if family != "debian":
        raise ReportError(family_unsupported(server, family))
    if not release:
        _add_error(result, f"Failed to detect CVE for {family}: r.Release is empty")
        return
    if not result.get("packages") and not result.get("SrcPackages"):
        _add_error(result, f"Failed to detect CVE for {family}: no binary or source packages")
        return
    if not config.database.exists() and not config.skip_update:
        journal.info(f"Fetching vuls2 db. repository: {config.repository}")
    try:
        database = open_database(config)
    except DatabaseError as error:
        raise ReportError(detection_failed(server, error)) from error
    result["scannedCves"] = detect(result, database)
    journal.info(f"{server}: {len(result['scannedCves'])} CVEs are detected with vuls2 (os packages)")


def _add_error(result: Result, text: str) -> None:
    result["errors"] = [*(result.get("errors") or []), text]


def _report_config(server: str, config: configuration.Config, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "logDir": str(options.log_dir),
        "resultsDir": str(options.results_dir),
        "servers": {server: config.servers.get(server, {})},
        "vuls2": {"Path": str(config.database), "SkipUpdate": config.skip_update},
        "confidenceScoreOver": CONFIDENCE_OVER,
        "lang": "en",
    }


def _display_name(result: Result) -> str:
    reboot = (result.get("runningKernel") or {}).get("rebootRequired")
    return f"[Reboot Required] {result['serverName']}" if reboot else str(result["serverName"])


def _now() -> str:
    """Return this moment as Go writes it: RFC 3339 in UTC, with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vuls report",
        description=demo_report.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-config", "--config", type=Path, default=Path.cwd() / "config.toml", help="config.toml")
    parser.add_argument(
        "-results-dir", "--results-dir", type=Path, default=Path.cwd() / "results", help="what vuls scan wrote to"
    )
    parser.add_argument(
        "-log-dir", "--log-dir", type=Path, default=Path("/var/log/vuls"), help="accepted as Vuls does, not used"
    )
    parser.add_argument(
        "-format-json", "--format-json", action="store_true", required=True, help="the only format of the stand-in"
    )
    return parser
