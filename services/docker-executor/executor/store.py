"""Jobs in SQLite: what must survive a restart. One process writes; its threads take turns."""

import fcntl
import hashlib
import json
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from executor.database import Facts
from executor.jobs import NEXT, Job, Kind, ScanType, State, Step
from executor.problems import JobConflict
from executor.settings import ConfigurationError

MIGRATIONS = (
    """
CREATE TABLE jobs (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    server TEXT NOT NULL,
    scan_type TEXT NOT NULL,
    state TEXT NOT NULL,
    phase TEXT NOT NULL,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    scan_exit INTEGER,
    report_exit INTEGER,
    scan_log TEXT NOT NULL DEFAULT '[]',
    report_log TEXT NOT NULL DEFAULT '[]',
    error_code TEXT,
    error_sentence TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    result BLOB
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, sequence);
""",
    """
ALTER TABLE jobs ADD COLUMN database_digest TEXT;
ALTER TABLE jobs ADD COLUMN database_modified_at TEXT;
""",
    """
ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'scan';
ALTER TABLE jobs ADD COLUMN given_digest TEXT;
ALTER TABLE jobs ADD COLUMN given BLOB;
""",
    """
ALTER TABLE jobs ADD COLUMN running_since REAL;
ALTER TABLE jobs ADD COLUMN finished_age REAL;
CREATE TABLE age (seconds REAL NOT NULL) STRICT;
INSERT INTO age VALUES (0);
UPDATE jobs SET finished_age = 0 WHERE finished_at IS NOT NULL;
""",
)
"""Step n brings the table from version n to n + 1; what a release has made is never changed."""
COLUMNS = ", ".join(field.name for field in fields(Job))
ENDS = tuple(state for state in State if state.is_end)


class IllegalMove(Exception):  # noqa: N818
    """The state machine does not allow the move: somebody else ended the job first."""


class Store:
    """The job table. Every method is one transaction; safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._owner = _own(path.with_suffix(".lock"))
        # Autocommit; transactions are opened by hand, IMMEDIATE, so that a reader cannot turn writer half-way.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        self._db.row_factory = sqlite3.Row
        path.chmod(0o600)
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            self._db.execute(f"PRAGMA {pragma}")
        self._migrate()

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise ConfigurationError(f"the job table is of version {version}, newer than this release; roll forward")
        for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;")

    def close(self) -> None:
        """Close the file and give up its ownership."""
        with self._lock:
            self._db.close()
            self._owner.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise

    def add(
        self,
        job_id: str,
        server: str,
        scan_type: ScanType,
        *,
        kind: Kind = Kind.SCAN,
        given: str | None = None,
        begun: bool = False,
    ) -> tuple[Job, bool]:
        """Store a new job, or return the one with this id and body; the flag says "new". Raises JobConflict.

        `given` is the JSON text of the result to assess. With `begun` a new job has made its first move, as `move` to
        PREPARING would, in the same transaction.
        """
        state, phase = (State.PREPARING, "preparing") if begun else (State.ACCEPTED, "queued")
        digest = None if given is None else hashlib.sha256(given.encode()).hexdigest()
        body = (kind, server, scan_type, digest)
        blob = None if given is None else zlib.compress(given.encode(), level=1)
        with self._transaction() as db:
            if (known := _find(db, job_id)) is not None:
                if (known.kind, known.server, known.scan_type, known.given_digest) != body:
                    raise JobConflict(f"Job {job_id} exists with another body.")
                return known, False
            db.execute(
                "INSERT INTO jobs (id, kind, server, scan_type, given_digest, given, state, phase, created_at,"
                " started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (job_id, *body, blob, state, phase, _now(), _now() if begun else None),
            )
            return _get(db, job_id), True

    def get(self, job_id: str) -> Job | None:
        """Return the job, or None."""
        with self._lock:
            return _find(self._db, job_id)

    def result(self, job_id: str) -> str | None:
        """Return the result's JSON text, or None while there is none."""
        return self._text(job_id, "result")

    def given(self, job_id: str) -> str | None:
        """Return the JSON text of the result to assess, until the job has it in its directory."""
        return self._text(job_id, "given")

    def unfinished(self) -> list[Job]:
        """Return every job that has not come to an end, oldest first."""
        marks = ", ".join("?" * len(ENDS))
        with self._lock:
            rows = self._db.execute(
                f"SELECT {COLUMNS} FROM jobs WHERE state NOT IN ({marks}) ORDER BY sequence",  # noqa: S608
                ENDS,
            ).fetchall()
        return [_job(row) for row in rows]

    def next_queued(self) -> Job | None:
        """Return the job that has waited longest, or None."""
        with self._lock:
            row = self._db.execute(
                f"SELECT {COLUMNS} FROM jobs WHERE state = ? ORDER BY sequence LIMIT 1",  # noqa: S608
                (State.ACCEPTED,),
            ).fetchone()
        return _job(row) if row else None

    def count_queued(self) -> int:
        """Return how many jobs wait."""
        with self._lock:
            row = self._db.execute("SELECT count(*) FROM jobs WHERE state = ?", (State.ACCEPTED,)).fetchone()
        return int(row[0])

    def move(
        self,
        job_id: str,
        to: State,
        *,
        phase: str | None = None,
        error: tuple[str, str] | None = None,
        result: str | None = None,
    ) -> Job:
        """Move the job on, with its error (code, sentence) or result where it ends. Raises IllegalMove."""
        values: dict[str, Any] = {"state": to, "running_since": None}
        if phase is not None:
            values["phase"] = phase
        if to is State.PREPARING:
            values["started_at"] = _now()
        else:
            values["given"] = None  # it lies in the job's directory by now, or is of no use any more
        if to.is_end:
            values["finished_at"] = _now()
        if error is not None:
            values["error_code"], values["error_sentence"] = error
        elif to is State.DONE:  # it was to be cancelled, and was faster
            values["error_code"] = values["error_sentence"] = None
        if result is not None:
            values["result"] = zlib.compress(result.encode(), level=1)
        with self._transaction() as db:
            state = _get(db, job_id).state
            if to not in NEXT[state]:
                raise IllegalMove(f"job {job_id} cannot go from {state} to {to}")
            if to.is_end:
                values["finished_age"] = _age(db)
            _update(db, job_id, values)
            return _get(db, job_id)

    def note_running(self, job_id: str, since: float) -> Job:
        """Write down when the program that runs was started, on the monotonic clock; the next move forgets it."""
        return self._write(job_id, {"running_since": since})

    def note_progress(self, job_id: str, step: Step, phase: str, lines: Sequence[str]) -> Job:
        """Write down how far a program is and what it said last."""
        return self._write(job_id, {"phase": phase, f"{step}_log": json.dumps(lines)})

    def note_database(self, job_id: str, database: Facts | None) -> Job:
        """Write down which database the job's report is about to read; None where that cannot be told."""
        digest, modified_at = (None, None) if database is None else (database.digest, database.modified_at.isoformat())
        return self._write(job_id, {"database_digest": digest, "database_modified_at": modified_at})

    def note_exit(self, job_id: str, step: Step, code: int) -> Job:
        """Write down that a program ended."""
        return self._write(job_id, {f"{step}_exit": code})

    def request_cancel(self, job_id: str, error: tuple[str, str] | None = None) -> Job:
        """Write down that the job shall end, and why (code, sentence), so that a restart does not forget it."""
        values: dict[str, Any] = {"cancel_requested": 1}
        if error is not None:
            values["error_code"], values["error_sentence"] = error
        return self._write(job_id, values)

    def purge(self, passed: float, kept: float) -> int:
        """Let the table grow older by `passed` seconds, and forget what ended `kept` seconds ago; return how many.

        The age is the time that an executor has run with the table, so that a clock that jumps deletes no result.
        """
        with self._transaction() as db:
            db.execute("UPDATE age SET seconds = seconds + ?", (passed,))
            return db.execute("DELETE FROM jobs WHERE finished_age <= ?", (_age(db) - kept,)).rowcount

    def _text(self, job_id: str, column: str) -> str | None:
        with self._lock:
            row = self._db.execute(f"SELECT {column} FROM jobs WHERE id = ?", (job_id,)).fetchone()  # noqa: S608
        return zlib.decompress(row[column]).decode() if row and row[column] is not None else None

    def _write(self, job_id: str, values: dict[str, Any]) -> Job:
        with self._transaction() as db:
            _update(db, job_id, values)
            return _get(db, job_id)


def _own(path: Path) -> TextIO:
    """Lock the store for this process; two executors on one state directory would run jobs twice."""
    handle = path.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.close()
        raise ConfigurationError(f"another executor holds {path}") from error
    return handle


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _age(db: sqlite3.Connection) -> float:
    return float(db.execute("SELECT seconds FROM age").fetchone()[0])


def _update(db: sqlite3.Connection, job_id: str, values: dict[str, Any]) -> None:
    names = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*values.values(), job_id))  # noqa: S608 (names are ours)


def _find(db: sqlite3.Connection, job_id: str) -> Job | None:
    row = db.execute(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()  # noqa: S608
    return _job(row) if row else None


def _get(db: sqlite3.Connection, job_id: str) -> Job:
    job = _find(db, job_id)
    if job is None:
        raise IllegalMove(f"there is no job {job_id}")
    return job


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    for name in ("created_at", "started_at", "finished_at", "database_modified_at"):
        values[name] = datetime.fromisoformat(values[name]) if values[name] else None
    for name in ("scan_log", "report_log"):
        values[name] = tuple(json.loads(values[name]))
    values["kind"] = Kind(values["kind"])
    values["scan_type"] = ScanType(values["scan_type"])
    values["state"] = State(values["state"])
    values["cancel_requested"] = bool(values["cancel_requested"])
    return Job(**values)
