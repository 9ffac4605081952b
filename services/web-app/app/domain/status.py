"""The words a run is told in."""

from typing import Literal, get_args

RunStatus = Literal["queued", "started", "success", "failed", "cancelled"]
Trigger = Literal["manual", "schedule", "adhoc"]
RunKind = Literal["scan", "check", "reassess"]
HostRunKind = Literal["check", "reassess"]  # those that a host is enough for
ScanType = Literal["fast", "fast-root", "deep"]

RUN_STATUSES: frozenset[str] = frozenset(get_args(RunStatus))
OPEN_STATUSES: frozenset[str] = frozenset({"queued", "started"})
FINISHED_STATUSES = RUN_STATUSES - OPEN_STATUSES
SCAN_TYPES: frozenset[str] = frozenset(get_args(ScanType))
