"""One database in the place of another, by the command that operators and the deployment use."""

import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import bolt, database_install
from executor.database import Database, DatabaseError
from executor.database_command import perform
from executor.database_install import Origin
from executor.settings import MIB
from tests.database import (
    BASE,
    NEXT,
    call,
    command,
    database_of,
    digest_of,
    environment,
    is_untouched,
    refused,
    said,
    words,
)
from tests.harness import DEMO_DATA, wait_until

ROOM = 80 * MIB


def test_a_database_is_put_in_place_and_says_which_it_is(installed: Path) -> None:
    done = said(command(installed, "install", DEMO_DATA / "next.db", "--sha256", digest_of(NEXT)))
    assert installed.read_bytes() == NEXT
    assert (done["changed"], done["digest"], done["source"]) == (True, digest_of(NEXT), "file next.db")
    shown = said(command(installed, "show"))
    assert (shown["digest"], shown["size"], shown["schema_version"]) == (digest_of(NEXT), len(NEXT), 0)
    assert shown["age_seconds"] > 0
    assert installed.stat().st_mode & 0o777 == 0o444
    assert {entry.name for entry in installed.parent.iterdir()} == {"vuls.db", "vuls.db.lock", "vuls.db.json"}


def test_the_first_database_of_a_host_is_put_in_place(installed: Path) -> None:
    installed.unlink()
    assert "There is no database" in refused(call(installed, "show"))
    assert said(call(installed, "install", DEMO_DATA / "next.db", "--source", "a stick"))["source"] == "a stick"
    assert installed.read_bytes() == NEXT


def test_the_same_database_is_not_replaced(installed: Path) -> None:
    before = installed.stat()
    assert said(call(installed, "install", DEMO_DATA / "base.db"))["changed"] is False
    assert (installed.stat().st_ino, installed.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert said(call(installed, "install", DEMO_DATA / "next.db"))["changed"] is True
    assert said(call(installed, "install", DEMO_DATA / "next.db"))["changed"] is False


def test_a_damaged_database_is_replaced(installed: Path) -> None:
    installed.write_bytes(BASE[:3000])
    assert said(call(installed, "install", DEMO_DATA / "base.db"))["changed"] is True
    assert installed.read_bytes() == BASE


def test_who_has_the_old_database_open_keeps_it(installed: Path) -> None:
    known = Database(installed)
    before = known.look()
    with installed.open("rb") as reader:
        said(call(installed, "install", DEMO_DATA / "next.db"))
        assert reader.read() == BASE
        assert b"schema_version" in bolt.read_value(reader.fileno(), b"metadata", b"db")
    after = known.look()
    assert before is not None
    assert after is not None
    assert (before.digest, after.digest) == (digest_of(BASE), digest_of(NEXT))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no bbolt file"),
        (b"<!DOCTYPE html><title>Sign in</title>" * 500, "no bbolt file"),
        (NEXT[: 10 * 4096], "cut short"),
        (b"\x28\xb5\x2f\xfd" + NEXT, "no bbolt file"),
        (database_of(b'{"schema_version":1,"last_modified":"2026-11-23T05:50:44Z"}'), "schema version 1"),
        (database_of(b"{}"), "Field required"),
    ],
    ids=["empty", "web page", "cut short", "still packed", "other schema", "without a date"],
)
def test_what_is_no_database_changes_nothing(installed: Path, tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "new.db").write_bytes(content)
    assert reason in refused(call(installed, "install", tmp_path / "new.db"))
    assert is_untouched(installed)


def test_a_database_with_another_digest_than_promised_changes_nothing(installed: Path) -> None:
    sentence = refused(call(installed, "install", DEMO_DATA / "next.db", "--sha256", "0" * 64))
    assert digest_of(NEXT) in sentence
    assert "Fetch it again." in sentence
    assert is_untouched(installed)


@pytest.mark.parametrize("file", ["nothing.db", "."])
def test_a_file_that_cannot_be_read_changes_nothing(installed: Path, tmp_path: Path, file: str) -> None:
    refused(call(installed, "install", tmp_path / file))
    assert is_untouched(installed)


def test_a_disk_without_room_changes_nothing_and_says_how_much_is_needed(
    installed: Path, small_disk: Callable[[Path, int], None]
) -> None:
    small_disk(installed.parent, 1024)
    shutil.copy(DEMO_DATA / "base.db", installed)
    sentence = refused(call(installed, "install", DEMO_DATA / "next.db"))
    assert f"The disk of {installed.parent} has 0 MiB free, 65 are needed." in sentence
    assert is_untouched(installed)


def test_a_disk_that_fills_up_on_the_way_changes_nothing(
    installed: Path, small_disk: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_disk(installed.parent, 256)
    shutil.copy(DEMO_DATA / "base.db", installed)
    monkeypatch.setattr(database_install, "RESERVE", -ROOM)
    with pytest.raises(DatabaseError, match=r"The disk of .* is full") as caught:
        database_install.install(
            installed, lambda file: database_install.copy(lambda _: NEXT, file, installed), Origin("a test")
        )
    assert "The database is as it was. Make room there" in str(caught.value)
    assert is_untouched(installed)


def test_a_write_that_fails_changes_nothing(installed: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))

    assert "could not be replaced" in refused(command(installed, "install", DEMO_DATA / "next.db", preexec_fn=limit))
    assert is_untouched(installed)


def test_more_than_any_database_has_is_refused(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_install, "LIMIT", 10 * MIB)
    with pytest.raises(DatabaseError, match="larger than 10 MiB"):
        database_install.install(
            installed, lambda file: database_install.copy(bytes, file, installed), Origin("a bomb")
        )
    assert is_untouched(installed)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_ended_changes_nothing_and_the_next_one_cleans_up(
    installed: Path, tmp_path: Path, sign: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "slow.db")
    line = words(installed, "install", tmp_path / "slow.db")
    with subprocess.Popen(line, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        with (tmp_path / "slow.db").open("wb") as slow:
            slow.write(NEXT[:8192])
            slow.flush()
            wait_until((installed.parent / ".vuls.db.new").exists, 30)
            assert "Another vuls-database" in refused(command(installed, "install", DEMO_DATA / "next.db"))
            process.send_signal(sign)
            process.wait(30)
        assert process.stderr is not None
        last_words = process.stderr.read()
    if sign != signal.SIGKILL:
        assert process.returncode == 1
        assert "The database is as it was." in last_words
        assert is_untouched(installed)
    assert said(command(installed, "install", DEMO_DATA / "next.db"))["changed"] is True
    assert not (installed.parent / ".vuls.db.new").exists()


def test_root_works_as_the_owner_of_the_directory() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may")
    with tempfile.TemporaryDirectory() as name:  # pytest's own is closed to other users
        directory = Path(name)
        nobody = pwd.getpwnam("nobody")
        os.chown(directory, nobody.pw_uid, 10002)  # the executor's group: who has it may read keys
        assert said(command(directory / "vuls.db", "install", DEMO_DATA / "next.db"))["changed"] is True
        found = {(entry.stat().st_uid, entry.stat().st_gid) for entry in directory.iterdir()}
        os.chown(directory, 987654, 10002)
        assert "does not know" in refused(command(directory / "vuls.db", "install", DEMO_DATA / "next.db"))
    assert found == {(nobody.pw_uid, nobody.pw_gid)}


def test_root_is_told_of_an_authority_that_the_owner_cannot_read() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        closed = directory / "closed"
        closed.mkdir(mode=0o700)
        (closed / "ca.crt").write_text("")
        os.chown(directory, pwd.getpwnam("nobody").pw_uid, -1)
        arguments = ("pull", "registry.example.com/vuls", "--ca", closed / "ca.crt")
        assert "(--ca) cannot be read by the owner" in refused(command(directory / "vuls.db", *arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["remove"],
        ["install"],
        ["install", "x", "--sha256", "abc"],
        ["install", "x", "--sha", "0" * 64],
        ["pull"],
        ["show", "x"],
    ],
    ids=str,
)
def test_wrong_arguments_are_told_from_failures(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        perform(arguments)
    assert caught.value.code == 2
    assert "usage: vuls-database" in capsys.readouterr().err


def test_the_path_is_the_executors_unless_it_is_named(installed: Path) -> None:
    line = [sys.executable, "-m", "executor.database_command", "show"]
    env = environment(VULS_EXECUTOR_DATABASE=str(installed))
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert said(done)["digest"] == digest_of(BASE)
