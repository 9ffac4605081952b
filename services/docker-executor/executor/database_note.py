"""What is known of a database file and not in it: its digest and where it came from, kept in a note beside it.

A database has gigabytes, so its digest is computed once, when it is installed. An entry of the note is good for one
file only, told by size, time of change and inode. While a database is replaced the note has entries for both.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

UNKNOWN_SOURCE = "unknown"
_LIMIT = 65536

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Entry(BaseModel):
    """One file: what tells it from others, and what is known of it."""

    model_config = ConfigDict(frozen=True)

    size: int
    mtime_ns: int
    inode: int
    digest: Digest
    source: str
    installed_at: datetime | None = None
    manifest: Digest | None = None
    """Digest of the artefact's manifest, where the database was pulled."""

    def fits(self, status: os.stat_result) -> bool:
        """Whether the entry is about the file with this status."""
        return (self.size, self.mtime_ns, self.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)


_ENTRIES = TypeAdapter(list[Entry])


def path_of(database: Path) -> Path:
    """Return where the note of a database is."""
    return database.with_name(f"{database.name}.json")


def recall(database: Path, status: os.stat_result) -> Entry | None:
    """Return what the note says of the file with this status; None where it says nothing, or cannot be read."""
    try:
        descriptor = os.open(path_of(database), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            entries = _ENTRIES.validate_json(file.read(_LIMIT))
    except (OSError, ValidationError):
        return None
    return next((entry for entry in entries if entry.fits(status)), None)


def write(database: Path, entries: list[Entry]) -> None:
    """Replace the note by rename. Raises OSError."""
    note = path_of(database)
    staged = note.with_name(f".{note.name}.new")
    staged.unlink(missing_ok=True)
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            file.write(_ENTRIES.dump_json(entries, indent=1))
            file.flush()
            os.fsync(descriptor)
        staged.replace(note)
    finally:
        staged.unlink(missing_ok=True)
