"""Which database it is: what is read from it, what is remembered of it, and what is said of a bad one."""

import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from executor import database, database_note, health
from executor.database import Database, DatabaseError, DatabaseMissing, Facts
from executor.engine import Engine
from executor.settings import Settings
from tests.database import BASE, database_of, digest_of
from tests.harness import CONTAINER_UID, DEMO_DATA

DIGEST = digest_of(BASE)
MODIFIED = datetime(2026, 11, 23, 5, 50, 44, 797228, tzinfo=UTC)
GOOD = {"schema_version": 0, "created_by": "a test", "last_modified": "2026-11-23T05:50:44.79722837Z"}


class Ready:
    """Stands in for an engine that has the image."""

    def has_image(self) -> bool:
        """Tell so."""
        return True


def look(installed: Path) -> Facts:
    facts = Database(installed).look()
    assert facts is not None
    return facts


def note(installed: Path, **changes: object) -> dict[str, object]:
    """Write a note for the file as it is, with changes."""
    status = installed.stat()
    entry = {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
        "digest": "sha256:" + "0" * 64,
        "source": "a note",
        **changes,
    }
    database_note.path_of(installed).write_text(json.dumps([entry]))
    return entry


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list with an entry for each digest that is computed."""
    found: list[int] = []
    real = database.digest

    def counting(descriptor: int) -> str:
        found.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(database, "digest", counting)
    return found


def test_a_database_says_which_it_is(installed: Path) -> None:
    assert look(installed) == Facts(DIGEST, look(installed).modified_at, 0, len(BASE), "unknown")
    assert abs((look(installed).modified_at - MODIFIED).total_seconds()) < 1


def test_a_digest_is_computed_once_for_a_file_and_again_for_another(installed: Path, computed: list[int]) -> None:
    known = Database(installed)
    assert [known.look() for _ in range(3)] == [look(installed)] * 3
    del computed[:]
    known.look()
    assert computed == []
    replacement = Path(shutil.copy(DEMO_DATA / "next.db", installed.with_name("next.db")))
    replacement.replace(installed)
    facts = known.look()
    assert facts is not None
    assert facts.digest != DIGEST
    assert len(computed) == 1


def test_many_who_look_at_once_compute_one_digest(installed: Path, computed: list[int]) -> None:
    known = Database(installed)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: known.look(), range(24)))
    assert len(found) == 1
    assert len(computed) == 1


def test_who_does_not_wait_is_told_nothing_while_another_computes(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: int) -> str:
        begun.set()
        assert go_on.wait(30)
        return DIGEST

    monkeypatch.setattr(database, "digest", slow)
    known = Database(installed)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(known.look)
        assert begun.wait(30)
        assert known.look(wait=False) is None
        go_on.set()
        assert first.result(30) == known.look(wait=False)


def test_the_note_beside_a_file_saves_its_digest(installed: Path, computed: list[int]) -> None:
    note(installed)
    facts = look(installed)
    assert (facts.digest, facts.source) == ("sha256:" + "0" * 64, "a note")
    assert computed == []


@pytest.mark.parametrize(
    "changes",
    [{"size": 1}, {"mtime_ns": 1}, {"inode": 1}, {"digest": "sha256:short"}, {"digest": None}, {"source": 3}],
    ids=str,
)
def test_a_note_that_does_not_fit_is_not_believed(installed: Path, changes: dict[str, object]) -> None:
    note(installed, **changes)
    assert (look(installed).digest, look(installed).source) == (DIGEST, "unknown")


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[[]]", b"\xff", b"[" * 60000, b" " * 70000 + b"[]"])
def test_a_damaged_note_is_passed_over(installed: Path, content: bytes) -> None:
    database_note.path_of(installed).write_bytes(content)
    assert look(installed).digest == DIGEST


def test_a_file_that_changes_in_place_is_looked_at_again(installed: Path) -> None:
    known = Database(installed)
    known.look()
    with installed.open("ab") as file:
        file.write(b"\0")
    facts = known.look()
    assert facts is not None
    assert facts.digest == digest_of(installed.read_bytes())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "cannot be used"),
        (b"null", "cannot be used"),
        (b"{", "cannot be used"),
        (b"\xff\xfe", "cannot be used"),
        (b"[" * 2000, "cannot be used"),
        (b'{"schema_version":0}', "Field required"),
        (json.dumps({**GOOD, "schema_version": "0"}).encode(), "valid integer"),
        (json.dumps({**GOOD, "schema_version": True}).encode(), "valid integer"),
        (json.dumps({**GOOD, "schema_version": 1}).encode(), "schema version 1; this release of Vuls reads 0"),
        (json.dumps({**GOOD, "last_modified": "yesterday"}).encode(), "cannot be used"),
        (json.dumps({**GOOD, "last_modified": "2026-11-23T05:50:44"}).encode(), "timezone"),
        (json.dumps({**GOOD, "last_modified": "0001-01-01T00:00:00Z"}).encode(), "does not say when it was made"),
        (json.dumps({**GOOD, "last_modified": "9999-12-31T23:59:59-14:00"}).encode(), "does not say when it was made"),
    ],
)
def test_a_database_that_says_nonsense_of_itself_is_refused_with_the_reason(
    installed: Path, value: bytes, words: str
) -> None:
    installed.write_bytes(database_of(value))
    with pytest.raises(DatabaseError, match=words) as caught:
        Database(installed).look()
    assert str(installed) in str(caught.value)
    assert "Bring a" in str(caught.value)


def test_unknown_fields_do_no_harm(installed: Path) -> None:
    installed.write_bytes(database_of(json.dumps({**GOOD, "digest": "x", "new": [1]}).encode()))
    assert look(installed).schema_version == 0


@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(max_size=80) | st.dictionaries(st.sampled_from([*GOOD]), st.none() | st.integers() | st.text()))
def test_no_metadata_breaks_the_reader(tmp_path: Path, value: Any) -> None:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    installed = tmp_path / "vuls.db"
    installed.write_bytes(database_of(content))
    with pytest.raises(DatabaseError):
        Database(installed).look()


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DatabaseError, match="is no file"):
        Database(tmp_path / "fifo").look()
    with pytest.raises(DatabaseMissing, match="There is no database"):
        Database(tmp_path / "nothing").look()


def check(settings: Settings, installed: Path) -> tuple[str, str, dict[str, Any] | None]:
    """Return status, database and database_info of the health with the database at `installed`."""
    used = settings.model_copy(update={"database": installed})
    found = health.check(used, cast("Engine", Ready()), Database(installed)).model_dump(mode="json")
    return found["status"], found["database"], found["database_info"]


def test_health_tells_which_database_there_is(settings: Settings, installed: Path) -> None:
    installed.chmod(0o444)
    status, state, info = check(settings, installed)
    assert (status, state) == ("ok", "ok")
    assert info is not None
    assert (info["digest"], info["size"], info["source"]) == (DIGEST, len(BASE), "unknown")
    assert datetime.fromisoformat(info["modified_at"]) == look(installed).modified_at


def test_health_knows_a_missing_a_damaged_and_a_forbidden_database(settings: Settings, installed: Path) -> None:
    if os.geteuid() != CONTAINER_UID:
        installed.chmod(0o400)
        assert check(settings, installed) == ("degraded", "unreadable", None)
    installed.chmod(0o644)
    installed.write_bytes(BASE[:3000])
    assert check(settings, installed) == ("degraded", "unreadable", None)
    installed.unlink()
    assert check(settings, installed) == ("degraded", "missing", None)


def test_a_directory_of_demo_data_is_a_database_of_which_nothing_is_known(settings: Settings, tmp_path: Path) -> None:
    demo = shutil.copytree(DEMO_DATA / "base", tmp_path / "demo-db")
    demo.chmod(0o755)
    assert check(settings, demo) == ("ok", "ok", None)
