"""The database of vulnerabilities as it lies on this host: whether it is one, how old it is, and which."""

import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, StrictInt, ValidationError
from pydantic.functional_validators import AfterValidator

from executor import bolt, database_note
from executor.database_note import Entry

SCHEMA_VERSION: Final = 0
"""What Vuls v0.40.1 reads; it refuses other versions."""
ADVICE: Final = "Bring another one with `vuls-database install` or `vuls-database pull`."
_CHUNK = 1024 * 1024
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2999, 1, 1, tzinfo=UTC)


class DatabaseError(Exception):
    """The database cannot be used; the text says why and what to do next."""


class DatabaseMissing(DatabaseError):  # noqa: N818 (the base class has it)
    """There is none."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Which database it is."""

    digest: str
    modified_at: datetime
    schema_version: int
    size: int
    source: str


def _plausible(moment: datetime) -> datetime:
    """Return the moment in UTC; Go writes the year 1 where nobody set it."""
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError("it does not say when it was made")
    return moment.astimezone(UTC)


class Metadata(BaseModel):
    """The value of `db` in the bucket `metadata` (github.com/MaineK00n/vuls2, pkg/db/session/types)."""

    schema_version: StrictInt
    created_by: str = ""
    last_modified: Annotated[AwareDatetime, AfterValidator(_plausible)]


class Database:
    """The database at a path. Every method blocks; safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._computing = threading.Lock()
        self._computed: Entry | None = None

    def look(self, *, wait: bool = True) -> Facts | None:
        """Return which database it is; None for a directory of demo data. Raises DatabaseError.

        Computes the digest of a file that has no note, which takes seconds for gigabytes. With `wait=False` it
        returns None while another thread computes it.
        """
        with opened(self._path) as descriptor:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                return None
            metadata = read_metadata(descriptor, self._path)
            entry = self._entry(descriptor, status, wait=wait)
        if entry is None:
            return None
        return Facts(entry.digest, metadata.last_modified, metadata.schema_version, status.st_size, entry.source)

    def _entry(self, descriptor: int, status: os.stat_result, *, wait: bool) -> Entry | None:
        known = database_note.recall(self._path, status) or self._computed
        if known is not None and known.fits(status):
            return known
        if not self._computing.acquire(blocking=wait):
            return None
        try:
            if self._computed is None or not self._computed.fits(status):
                self._computed = Entry(
                    size=status.st_size,
                    mtime_ns=status.st_mtime_ns,
                    inode=status.st_ino,
                    digest=digest(descriptor),
                    source=database_note.UNKNOWN_SOURCE,
                )
        except OSError as error:
            raise DatabaseError(f"The database {self._path} cannot be read ({error.strerror}). {ADVICE}") from error
        finally:
            self._computing.release()
        return self._computed


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a database for reading. Raises DatabaseError."""
    try:
        # Non-blocking: opening a FIFO must not wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise DatabaseMissing(f"There is no database {path}. {ADVICE}") from error
    except OSError as error:
        raise DatabaseError(f"The database {path} cannot be read ({error.strerror}). {ADVICE}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_metadata(descriptor: int, name: Path | str) -> Metadata:
    """Return what the database says of itself; `name` is for the sentence. Raises DatabaseError."""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DatabaseError(f"{name} is no file. {ADVICE}")
        found = Metadata.model_validate_json(bolt.read_value(descriptor, b"metadata", b"db"))
    except bolt.NotBolt as error:
        raise DatabaseError(f"{name} is no vulnerability database of Vuls: {error}. {ADVICE}") from error
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        text = f"{name} is a bbolt file, but what it says of itself cannot be used ({reason}). {ADVICE}"
        raise DatabaseError(text) from error
    except OSError as error:
        raise DatabaseError(f"{name} cannot be read ({error.strerror}). {ADVICE}") from error
    if found.schema_version != SCHEMA_VERSION:
        raise DatabaseError(
            f"{name} has schema version {found.schema_version}; this release of Vuls reads {SCHEMA_VERSION}. Bring a"
            f" database with schema version {SCHEMA_VERSION} (its tag in a registry is :{SCHEMA_VERSION})."
        )
    return found


def digest(descriptor: int) -> str:
    """Return the file's SHA-256 as `sha256:…`. Raises OSError."""
    found, offset = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, _CHUNK, offset):
        found.update(chunk)
        offset += len(chunk)
    return f"sha256:{found.hexdigest()}"
