"""What the role files finds to write: what is missing or different, and nothing else."""

import datetime as dt
import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from .ansible import ROOT, ansible, said
from .rules import plugin

FILES = plugin("files", "filter_plugins", "files")
DIRECTORY = {"path": "/etc/vuls/web", "mode": "0750", "group": "vuls-web"}
FILE = {"path": "/etc/vuls/web/settings.env", "mode": "0640", "group": "vuls-web", "content": "NAME='Grün'\n"}
WANTED = [DIRECTORY, FILE]


def seen(**changes: Any) -> list[dict[str, Any]]:
    """Return what `find` says of a host where both are as wanted, with changes to the file."""
    common = {"pw_name": "root", "gr_name": "vuls-web"}
    digest = hashlib.sha256("NAME='Grün'\n".encode()).hexdigest()
    return [
        {"path": "/etc/vuls/web", "mode": "0750", "isdir": True, **common},
        {"path": "/etc/vuls/web/settings.env", "mode": "0640", "isdir": False, "checksum": digest, **common, **changes},
    ]


def test_nothing_is_to_do_where_all_is_as_wanted() -> None:
    assert FILES.differing(WANTED, seen()) == []


def test_all_is_to_do_on_a_bare_host_with_root_as_owner() -> None:
    assert FILES.differing(WANTED, []) == [{"owner": "root", **entry} for entry in WANTED]


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "0644"},
        {"pw_name": "www-data"},
        {"gr_name": "root"},
        {"checksum": "0" * 64},
        {"isdir": True, "checksum": None},
        {"isdir": False, "checksum": None},  # a link or a socket
        {"path": "/etc/vuls/web/settings"},
    ],
    ids=["mode", "owner", "group", "content", "a directory", "no file", "missing"],
)
def test_a_file_that_is_otherwise_is_to_do(change: dict[str, Any]) -> None:
    assert [entry["path"] for entry in FILES.differing(WANTED, seen(**change))] == [FILE["path"]]


def test_a_file_in_the_place_of_a_directory_is_to_do() -> None:
    found = [{**seen()[0], "isdir": False, "checksum": "0" * 64}, seen()[1]]
    assert [entry["path"] for entry in FILES.differing(WANTED, found)] == [DIRECTORY["path"]]


def test_one_look_sees_every_path() -> None:
    assert FILES.look_at(WANTED) == {"paths": ["/etc/vuls", "/etc/vuls/web"], "patterns": ["settings.env", "web"]}


NOON = dt.datetime(2025, 11, 30, 12, 0, 0, 250_000, dt.UTC).timestamp()


def began(*seconds: float) -> str:
    """Return what systemctl says of units that began so many seconds after noon."""
    starts = (dt.datetime.fromtimestamp(NOON + second, dt.UTC) for second in seconds)
    lines = (f"ActiveState=active\nExecMainStartTimestamp={start:%a %Y-%m-%d %H:%M:%S.%f} UTC" for start in starts)
    return "\n\n".join(lines) + "\n"


def reloaded(second: float) -> str:
    """Return what systemctl says of a unit that was reloaded so many seconds after noon."""
    return began(second).replace("ExecMainStart", "StateChange")


@pytest.mark.parametrize(
    ("shown", "is_unread"),
    [
        (began(1), False),
        (began(-1), True),
        (began(0.000_1), False),
        (began(-0.000_1), True),
        (began(1, -1), True),  # of two instances one was restarted
        (began(1, 2), False),
        (reloaded(1), False),
        (reloaded(-1), True),
        (began(-1) + reloaded(1), False),
        (began(-1) + reloaded(1) + "ReloadResult=success\n", False),
        (began(-1) + reloaded(1) + "ReloadResult=exit-code\n", True),  # it goes on with what it had
        ("ActiveState=active\nExecMainStartTimestamp=\n", False),  # it never began
        (began(-1).replace("=active", "=inactive"), False),  # it reads it when it starts
        (began(-1).replace("=active", "=failed") + "\n" + began(1), False),
        ("", False),  # there is no such unit
    ],
)
def test_a_file_is_unread_if_what_reads_it_began_before(shown: str, is_unread: bool) -> None:
    found = [{**entry, "mtime": NOON} for entry in seen()]
    assert FILES.unread(WANTED, found, shown) == ([FILE["path"]] if is_unread else [])


def test_what_belongs_to_the_unit_is_unread_while_systemd_says_so() -> None:
    unit = {"path": "/etc/systemd/system/x.service.d/sandbox.conf", "isdir": False, "mtime": NOON}
    wanted = [FILE, {"path": unit["path"]}]
    found = [{**seen()[1], "mtime": NOON}, unit]
    assert FILES.unread(wanted, found, began(1) + "NeedDaemonReload=no\n") == []
    assert FILES.unread(wanted, found, began(1) + "NeedDaemonReload=yes\n") == [unit["path"]]


@pytest.mark.parametrize(("second", "is_unread"), [(-1, True), (1, False)])
def test_a_file_is_read_where_a_mark_says_so(second: float, *, is_unread: bool) -> None:
    found = [{**entry, "mtime": NOON} for entry in seen()]
    found.append({**seen()[1], "path": "/run/read", "mtime": NOON + second})
    assert FILES.unread(WANTED, found, began(-60), "/run/read") == ([FILE["path"]] if is_unread else [])


def test_neither_directories_nor_files_of_others_nor_those_of_the_future_are_unread() -> None:
    directory, file = seen()
    found = [
        {**directory, "mtime": NOON},
        {**file, "path": "/etc/vuls/web/other", "mtime": NOON},
        {**file, "mtime": time.time() + 60},
    ]
    assert FILES.unread(WANTED, found, began(-60)) == []


def applied(place: Path, start: float, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the role for one file, whose unit began at a time, with a handler that is seen."""
    (place / "bin").mkdir(exist_ok=True)
    when = dt.datetime.fromtimestamp(start, dt.UTC)
    # Only what a unit's start is: this machine has no unit of that name.
    (place / "bin/systemctl").write_text(
        f"#!/bin/sh\necho ActiveState=active\necho ExecMainStartTimestamp={when:%a %Y-%m-%d %H:%M:%S.%f} UTC\n"
    )
    (place / "bin/systemctl").chmod(0o755)
    variables = {
        "files_wanted": [{"path": str(place / "settings.env"), "mode": "0644", "content": "A='1'\n"}],
        "files_notify": ["Restart it"],
        "files_unit": "vuls-test.service",
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"vuls_no_log": True},
        "roles": [{"role": "files", "vars": variables}],
        "handlers": [{"name": "Restart it", "debug": {"msg": "it was restarted"}}],
    }
    (place / "play.yml").write_text(json.dumps([play]))
    line = ["ansible-playbook", *flags, "-i", "localhost,", "-c", "local", str(place / "play.yml")]
    return ansible(
        *line,
        ANSIBLE_ROLES_PATH=str(ROOT / "roles"),
        HOME=os.environ.get("HOME", "/root"),
        PATH=f"{place / 'bin'}:{os.environ['PATH']}",
    )


def test_what_a_run_that_was_broken_off_has_written_is_made_known_once(tmp_path: Path) -> None:
    before = time.time() - 10
    assert "it was restarted" in said(applied(tmp_path, before)), "the file is new"
    for flags in (["--check"], []):
        again = applied(tmp_path, before, *flags)
        assert "changed=1" in said(again)
        assert "it was restarted" in said(again)
    calm = applied(tmp_path, time.time())
    assert "changed=0" in said(calm)
    assert "it was restarted" not in said(calm)
