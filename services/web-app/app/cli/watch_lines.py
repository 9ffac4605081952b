"""What `vulsctl watch` prints: a line for people for each message, or the message itself for programs."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.domain.severity import Severity

_CLEAR = "\r\x1b[2K"  # ECMA-48: back to the start of the line, and erase it


class Lines:
    """Standard output, one message a line. At a terminal, progress is shown in one line that the next one replaces."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._in_place = sys.stdout.isatty() and not as_json
        self._progress_shown = False

    def message(self, message: Mapping[str, Any]) -> bool:
        """Print a message; False when it is one that this output leaves out.

        Raises:
            SystemExit: whoever read the output has gone.
        """
        if self.as_json:
            line = json.dumps(message, separators=(",", ":"))
        elif message["type"] == "task_progress":
            return self._progress(message["data"])
        else:
            line = words(message)
        self.clear_progress()
        self._write(f"{line}\n")
        return True

    def notice(self, sentence: str) -> None:
        """Say on standard error what happens to the connection."""
        self.clear_progress()
        sys.stderr.write(f"vulsctl: {printable(sentence)}\n")
        sys.stderr.flush()

    def clear_progress(self) -> None:
        """Take the line of progress away, if there is one."""
        if self._progress_shown:
            self._progress_shown = False
            self._write(_CLEAR)

    def _progress(self, data: Mapping[str, Any]) -> bool:
        if not self._in_place:
            return False
        percent = data.get("percent")
        share = "" if percent is None else f" {percent} %"
        line = printable(f"  … {data.get('task_name')}: {str(data.get('phase')).replace('_', ' ')}{share}")
        self._write(_CLEAR + line[: shutil.get_terminal_size().columns - 1])
        self._progress_shown = True
        return True

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes once more at its end; that must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None


def words(message: Mapping[str, Any]) -> str:
    """Return a message as a line: when, what, of which task, and what was found."""
    data = message.get("data")
    if not isinstance(data, Mapping):
        data = {}
    match message["type"]:
        case "task_update":
            line = _line(data.get("timestamp"), str(data.get("status")), _task(data) + _outcome(data))
        case "findings_changed":
            line = _line(data.get("timestamp"), "changed", f"{data.get('host_name')}: {_changes(data)}")
        case "digest":
            line = _line(None, "digest", _digest(data))
        case other:
            line = _line(data.get("timestamp"), str(other), json.dumps(data))
    return printable(line)


def printable(text: str) -> str:
    """Return `text` without characters that a terminal would take for commands."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _line(timestamp: object, kind: str, text: str) -> str:
    return f"{_local(timestamp)}  {kind:<9}  {text}"


def _local(timestamp: object) -> str:
    """Return a message's time (UTC, without a zone) in the zone of the terminal; now where there is none."""
    try:
        at = datetime.fromisoformat(str(timestamp)).replace(tzinfo=UTC)
    except ValueError:
        at = datetime.now(UTC)
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _task(data: Mapping[str, Any]) -> str:
    host = data.get("host_name")
    return f"{data.get('task_name')} ({host})" if host else str(data.get("task_name"))


def _outcome(data: Mapping[str, Any]) -> str:
    """Return what a run found. A number is only said of an assessed host."""
    result = data.get("result_data") or {}
    reason = (result.get("reason") or {}).get("sentence", "")
    if data.get("kind") == "check" and data.get("status") == "success":
        return f": connection to {data.get('host_name')} works"
    match result.get("verdict"):
        case "assessed":
            return f": {_found(result)}"
        case "not_assessed":
            return f": not assessed. {reason}".rstrip()
        case _:
            return f": {reason}" if reason else ""


def _found(counts: Mapping[str, Any]) -> str:
    total = counts.get("vulnerabilities") or 0
    if not total:
        return "no known vulnerabilities"
    severities = ", ".join(f"{counts[name]} {name}" for name in Severity if counts.get(name))
    return f"{total} {'vulnerability' if total == 1 else 'vulnerabilities'} ({severities})"


_KINDS = {"new": "new", "reappeared": "reappeared", "severity_changed": "changed in severity", "fixed": "fixed"}


def _changes(data: Mapping[str, Any]) -> str:
    """Return how many findings changed in which way, and how many of them are critical."""
    told = [(data.get(kind) or {}, words) for kind, words in _KINDS.items()]
    return ", ".join(
        f"{counts['total']} {words}" + (f" ({counts['critical']} critical)" if counts.get("critical") else "")
        for counts, words in told
        if counts.get("total")
    )


def _digest(data: Mapping[str, Any]) -> str:
    """Return the numbers of a digest so that they add up."""
    success, assessed, not_assessed = (data.get(name, 0) for name in ("success", "assessed", "not_assessed"))
    parts = [f"{success} finished"]
    if assessed:
        parts.append(f"{assessed} assessed: {_found(data)}")
    if not_assessed:
        parts.append(f"{not_assessed} not assessed")
    besides = ", ".join(f"{data[name]} {name}" for name in ("cancelled", "queued", "started") if data.get(name))
    changes = ", ".join(f"{data[kind]} {words}" for kind, words in _KINDS.items() if data.get(kind))
    return (
        f"{data.get('events', 0)} updates: {', '.join(parts)}"
        + (f"; besides {besides}" if besides else "")
        + (f"; findings changed on {data['changed']} hosts: {changes}" if data.get("changed") and changes else "")
    )
