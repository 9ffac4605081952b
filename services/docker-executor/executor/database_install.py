"""Puts a database in the place of another one: looked at before, replaced by rename, one at a time.

Whatever fails, the old database stays where it is, and a report that reads it keeps it: the container has bound the
file, not its name.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from executor import database, database_note
from executor.database import Database, DatabaseError, Facts
from executor.database_note import Entry
from executor.settings import MIB

RESERVE = 64 * MIB
"""Room that is left to others on the database's disk, in bytes."""
LIMIT = 64 * 1024 * MIB
"""No database is larger, in bytes; an artefact that unpacks to more is a trap."""
_CHUNK = MIB
_LOOK_EVERY = 64 * MIB
_MODE = 0o444
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a database comes from: a name for people, and the digest of its manifest where it has one."""

    source: str
    manifest: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The database that is in place now, and whether it is another one than before."""

    changed: bool
    facts: Facts


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the right to replace the database. Raises DatabaseError when another process has it."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        handle = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        text = f"{path.parent} cannot be written ({error.strerror}). Run this as root, after the role vuls."
        raise DatabaseError(text) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DatabaseError(f"Another vuls-database replaces {path} already. Wait for its end.") from error
        yield
    finally:
        os.close(handle)


def install(path: Path, write: Callable[[BinaryIO], None], origin: Origin, expected: str | None = None) -> Outcome:
    """Make what `write` writes the database at `path`, to be called within `exclusive`.

    With `expected` it must have this digest (`sha256:…`). The same database is not replaced. Raises DatabaseError,
    and whatever `write` raises.
    """
    staging = path.with_name(f".{path.name}.new")
    try:
        staging.unlink(missing_ok=True)  # of a run that was killed
        descriptor = os.open(staging, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(descriptor)
            metadata = database.read_metadata(descriptor, origin.source)
            found = database.digest(descriptor)
            if expected not in (None, found):
                raise DatabaseError(f"{origin.source} has the digest {found} and not {expected}. Fetch it again.")
            os.fchmod(descriptor, _MODE)
            entry = _entry(os.fstat(descriptor), found, origin)
        current = _current(path)
        if current is not None and current.digest == found:
            _note_again(path, entry)
            return Outcome(changed=False, facts=current)
        # With both in the note there is no moment at which a digest has to be computed.
        database_note.write(path, [entry, *_known(path)])
        staging.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise failure(path, error) from error
    finally:
        staging.unlink(missing_ok=True)
    facts = Facts(found, metadata.last_modified, metadata.schema_version, entry.size, origin.source)
    return Outcome(changed=True, facts=facts)


def copy(read: Callable[[int], bytes], file: BinaryIO, path: Path) -> None:
    """Write all that `read` gives to the staging file of `path`. Raises DatabaseError and OSError."""
    size = 0
    while chunk := read(_CHUNK):
        if size % _LOOK_EVERY < len(chunk):
            check_room(path, len(chunk))
        size += len(chunk)
        if size > LIMIT:
            raise DatabaseError(f"What was to be installed is larger than {LIMIT // MIB} MiB: that is no database.")
        file.write(chunk)


def check_room(path: Path, needed: int) -> None:
    """Raise DatabaseError when the database's disk lacks room for so many bytes more."""
    found = os.statvfs(path.parent)
    free = found.f_bavail * found.f_frsize
    if free < needed + RESERVE:
        raise DatabaseError(
            _no_room(path, f"has {free // MIB} MiB free, {-(-needed // MIB) + RESERVE // MIB} are needed")
        )


def failure(path: Path, error: OSError) -> DatabaseError:
    """Return what is said of an error while a database was put in place."""
    if error.errno in _FULL:  # as executor.disk has it, but without the web framework behind it
        return DatabaseError(_no_room(path, f"is full ({error.strerror})"))
    text = f"The database {path} could not be replaced ({error.strerror or error}) and is as it was."
    return DatabaseError(f"{text} Look at {path.parent}.")


def pulled(path: Path, origin: Origin) -> Facts | None:
    """Return the database in place if it was pulled from the manifest of `origin`, and note that it is to be had there.

    To be called within `exclusive`. Raises DatabaseError when the note cannot be written.
    """
    try:
        with database.opened(path) as descriptor:
            entry = database_note.recall(path, os.fstat(descriptor))
    except DatabaseError:
        return None
    if entry is None or entry.manifest != origin.manifest:
        return None
    if entry.source != origin.source:
        try:
            database_note.write(path, [entry.model_copy(update={"source": origin.source})])
        except OSError as error:
            raise failure(path, error) from error
    return _current(path)


def _no_room(path: Path, how: str) -> str:
    return f"The disk of {path.parent} {how}. The database is as it was. Make room there (df -h), then try again."


def _entry(status: os.stat_result, digest: str, origin: Origin) -> Entry:
    return Entry(
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
        digest=digest,
        source=origin.source,
        installed_at=datetime.now(UTC),
        manifest=origin.manifest,
    )


def _current(path: Path) -> Facts | None:
    try:
        return Database(path).look()
    except DatabaseError:
        return None


def _known(path: Path) -> list[Entry]:
    """Return what the note says of the database in place."""
    try:
        entry = database_note.recall(path, path.stat())
    except OSError:
        return []
    return [] if entry is None else [entry]


def _note_again(path: Path, entry: Entry) -> None:
    """Write down where the database in place is to be had now too."""
    status = path.stat()
    same = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}
    database_note.write(path, [entry.model_copy(update=same)])


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
