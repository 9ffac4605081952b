"""A restore that was broken off and is typed again keeps the files of before the first."""

import json
import os
from pathlib import Path

import pytest

from .ansible import ROOT, ansible, said

BEGUN = "restore_command = 'pgbackrest archive-get'\n"


def restore(place: Path) -> None:
    """Do what the role does first; it ends where the files would be brought back, which belongs to no test of this."""
    task = {"import_role": {"name": "pgbackrest", "tasks_from": "restore"}}
    (place / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    given = {
        "ansible_become": False,
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "__pgbackrest_data_dir": str(place / "main"),
        "__pgbackrest_server": "no-such-unit.service",
        "__pgbackrest_postgresql_version": "17",
    }
    begin = "restore | See whether there is a whole cluster"
    line = ("-i", "db-1,", "-c", "local", "-e", json.dumps(given), "--start-at-task", begin)
    result = ansible(
        *("ansible-playbook", *line, str(place / "play.yml")),
        ANSIBLE_ROLES_PATH=str(ROOT / "roles"),
        HOME=os.environ.get("HOME", str(ROOT)),
    )
    assert "Set the old files aside" in said(result)


def cluster(place: Path, whose: str, settings: str = "") -> None:
    (place / "global").mkdir(parents=True)
    (place / "global/pg_control").touch()
    (place / "postgresql.auto.conf").write_text(settings)
    (place / "whose").write_text(whose)


def kept(place: Path) -> str:
    """Return whose files are there to go back to, wherever the failing restore left them."""
    found = [path.read_text() for path in place.glob("main*/whose")]
    return ", ".join(found)


def test_what_a_broken_off_restore_left_does_not_take_the_place_of_the_files_of_before(tmp_path: Path) -> None:
    cluster(tmp_path / "main", "half recovered", BEGUN)
    cluster(tmp_path / "main.before-restore", "before")
    restore(tmp_path)
    assert kept(tmp_path) == "before"


@pytest.mark.long
def test_a_restore_after_one_that_was_done_keeps_what_is_there(tmp_path: Path) -> None:
    cluster(tmp_path / "main", "restored")
    cluster(tmp_path / "main.before-restore", "before")
    restore(tmp_path)
    assert kept(tmp_path) == "restored"


@pytest.mark.long
def test_the_only_files_that_there_are_stay(tmp_path: Path) -> None:
    cluster(tmp_path / "main", "the only ones", BEGUN)
    restore(tmp_path)
    assert kept(tmp_path) == "the only ones"
