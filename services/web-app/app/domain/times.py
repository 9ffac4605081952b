"""Times as they travel in HTTP bodies."""

from datetime import UTC, datetime


def wire_time(moment: datetime | None) -> str | None:
    """Return a time as HTTP bodies show it: ISO 8601, UTC, with Z."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
