"""A restore follows the history that was in use at the moment, from a backup that is of it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .ansible import ROOT, ansible, said
from .rules import plugin

FOLLOWED = plugin("pgbackrest", "filter_plugins", "pgbackrest_history").pgbackrest_followed
HOUR = 1796040000  # 2026-11-30 12:00:00+00


def at(minute: float) -> str:
    """Return a moment of that hour as restore_to has it."""
    return f"2026-11-30 12:{int(minute):02d}:{int(minute % 1 * 60):02d}+00"


def backup(label: str, timeline: int, minute: int, position: str) -> dict[str, Any]:
    """Return what `info` says of one."""
    stop = HOUR + minute * 60
    return {
        "label": label,
        "database": {"id": 1, "repo-key": 1},
        "archive": {"start": f"{timeline:08X}0000000000000002", "stop": f"{timeline:08X}0000000000000003"},
        "lsn": {"start": "0/2000028", "stop": position},
        "timestamp": {"start": stop - 5, "stop": stop},
    }


class Archive:
    """What the repository says: a backup of the beginning, and what was added since."""

    def __init__(self) -> None:
        self.backups = [backup("first", 1, 0, "0/3000050")]
        self.listing: dict[str, dict[str, Any]] = {".": {"type": "path"}, "0000000100000000": {"type": "path"}}
        self.texts: dict[str, str] = {}

    def fork(self, timeline: int, parent: int, position: str, reason: str, minute: int) -> None:
        """Note that a timeline began, with the blank lines that PostgreSQL leaves in such a file."""
        name, before = f"{timeline:08X}.history", self.texts.get(f"{parent:08X}.history", "")
        self.texts[name] = f"{before}\n\n{parent}\t{position}\t{reason}\n".lstrip()
        self.listing[name] = {"type": "file", "size": 80, "time": HOUR + minute * 60}

    def followed(self, to: str = "", label: str = "") -> tuple[int, str]:
        """Return the timeline and the backup."""
        info = {"archive": [{"id": "17-1", "database": {"id": 1}}], "backup": self.backups}
        found = FOLLOWED(info, self.listing, self.texts, to, label)
        assert not found["refused"], found["refused"]
        assert found["newest"] == max([1, *(int(name[:8], 16) for name in self.texts)])
        return found["timeline"], found["set"]

    def refused(self, to: str = "", label: str = "") -> str:
        """Return why there is no way."""
        info = {"archive": [{"id": "17-1", "database": {"id": 1}}], "backup": self.backups}
        return str(FOLLOWED(info, self.listing, self.texts, to, label)["refused"])


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture
def restored(archive: Archive) -> Archive:
    """A restore to 12:10 was done at 12:30."""
    archive.fork(2, 1, "0/6026B98", f"before {at(10.5)}", 30)
    return archive


def test_without_a_restore_there_is_one_history(archive: Archive) -> None:
    assert archive.followed() == (1, "first")
    assert archive.followed(at(10)) == (1, "first")


@pytest.mark.parametrize(
    ("minute", "timeline"),
    [(5, 2), (10, 2), (10.5, 1), (20, 1), (29, 1), (30, 2), (40, 2)],
    ids=["both have it", "the moment", "first commit that was left", "left", "left last", "new", "newer"],
)
def test_a_moment_is_looked_for_in_the_history_that_was_in_use_then(
    restored: Archive, minute: float, timeline: int
) -> None:
    assert restored.followed(at(minute)) == (timeline, "first")


def test_a_moment_has_any_offset_and_fraction(restored: Archive) -> None:
    assert restored.followed("2026-11-30 14:20:00.5+02")[0] == 1
    assert restored.followed("2026-11-30 17:50:00.123456+0530")[0] == 1
    assert restored.followed("2026-11-30 14:40:00+02:00")[0] == 2


def test_the_second_restore_can_be_left_again(restored: Archive) -> None:
    """To 12:40 at 12:50, which is of timeline 2; then to 12:20 at 13:00, which is of timeline 1."""
    restored.fork(3, 2, "0/7000000", f"before {at(41)}", 50)
    assert [restored.followed(at(minute))[0] for minute in (5, 20, 35, 45, 55)] == [3, 1, 3, 2, 3]
    restored.fork(4, 1, "0/6500000", f"before {at(21)}", 60)
    assert [restored.followed(at(minute))[0] for minute in (5, 20, 25, 35, 45, 55)] == [4, 4, 1, 2, 2, 3]


def test_a_promotion_leaves_nothing_behind(archive: Archive) -> None:
    """Its history file may come late, where the repository was away."""
    archive.fork(2, 1, "0/7000000", "no recovery target specified", 30)
    assert {archive.followed(to)[0] for to in ("", at(10), at(29), at(40))} == {2}


def test_files_that_were_put_back_leave_the_restored_history(restored: Archive) -> None:
    """At 12:40, as the page says."""
    restored.fork(3, 1, "0/8000000", "no recovery target specified", 40)
    assert [restored.followed(at(minute))[0] for minute in (5, 20, 35, 45)] == [3, 3, 2, 3]
    assert restored.followed() == (3, "first")


def test_a_newest_timeline_that_nobody_uses_is_not_followed(restored: Archive) -> None:
    """Files were put back and went on with their own timeline: backups of it show that."""
    restored.backups.append(backup("later", 1, 45, "0/9000000"))
    assert restored.followed() == (1, "later")
    assert restored.followed(at(50)) == (1, "later")
    assert restored.followed(at(35)) == (2, "first")


def test_a_backup_of_what_was_left_is_passed_over(restored: Archive) -> None:
    restored.backups.append(backup("left", 1, 25, "0/6500000"))
    assert restored.followed() == (2, "first")
    assert restored.followed(at(40)) == (2, "first")
    assert restored.followed(at(27)) == (1, "left")
    restored.backups.append(backup("new", 2, 35, "0/7000000"))
    assert restored.followed() == (2, "new")
    assert restored.followed(at(33)) == (2, "first")


def test_the_backup_that_was_asked_for_is_taken_or_refused(restored: Archive) -> None:
    restored.backups += [backup("left", 1, 25, "0/6500000"), backup("new", 2, 35, "0/7000000")]
    assert restored.followed(label="first") == (2, "first")
    assert restored.followed(at(27), "first") == (1, "first")
    assert "the backup left is not from before the end of the archive" in restored.refused(label="left")
    assert "these are: first, new" in restored.refused(label="left")
    assert "timeline 1" in restored.refused(at(20), "left")


@pytest.mark.parametrize("to", [at(0), "2026-11-30 11:00:00+00"])
def test_a_moment_before_all_backups_is_refused(restored: Archive, to: str) -> None:
    assert restored.refused(to).startswith(f"no backup is from before {to}")


@pytest.mark.parametrize("to", ["2026-13-30 11:00:00+00", "2026-11-30 11:00:00", "yesterday"])
def test_what_is_no_moment_is_refused(archive: Archive, to: str) -> None:
    assert archive.refused(to) == f"{to} is no time with an offset from UTC"


def test_a_repository_that_has_nothing_is_refused() -> None:
    assert "these are: none" in FOLLOWED({}, {}, {})["refused"]


def test_backups_of_another_cluster_do_not_count(archive: Archive) -> None:
    archive.backups.append({**backup("other", 1, 30, "0/2000050"), "database": {"id": 0, "repo-key": 1}})
    assert archive.followed() == (1, "first")


def test_the_tenth_timeline_has_a_hexadecimal_name(archive: Archive) -> None:
    archive.fork(10, 1, "1A/6026B98", f"before {at(10)}", 30)
    assert archive.followed(at(40)) == (10, "first")
    assert archive.followed(at(20)) == (1, "first")


PROGRAM = """#!/bin/sh
for last; do :; done
case "$*" in
*--log-level-console=off*--log-level-stderr=error*) ;;
*) echo "P00 INFO: a message between the answers" ;;
esac
case "$*" in
*repo-ls*archive/vuls/17-1) cat {place}/listing ;;
*repo-get*) cat "{place}/${last##*/}" ;;
*) exit 40 ;;
esac
"""


def play(place: Path, archive: Archive, **given: str) -> tuple[int, str]:
    """Run the entry point where a program says what the repository does; returns exit status and output."""
    (place / "bin").mkdir()
    (place / "bin/pgbackrest").write_text(PROGRAM.replace("{place}", str(place)))
    (place / "bin/pgbackrest").chmod(0o755)
    (place / "listing").write_text(json.dumps(archive.listing))
    for name, text in archive.texts.items():
        (place / name).write_text(text)
    info = [{"archive": [{"id": "17-1", "database": {"id": 1}}], "backup": archive.backups}]
    tasks = [
        {"include_role": {"name": "pgbackrest", "tasks_from": "history", "public": True}, "vars": given},
        {"debug": {"msg": "{{ [pgbackrest_followed, __pgbackrest_restore_options] | to_json }}"}, "vars": given},
    ]
    known = {"__pgbackrest_info": {"stdout": json.dumps(info)}, "ansible_become": False}
    (place / "play.yml").write_text(
        json.dumps([{"hosts": "all", "gather_facts": False, "vars": known, "tasks": tasks}])
    )
    done = ansible(
        *("ansible-playbook", "-i", "backup-1,", "-c", "local", str(place / "play.yml")),
        ANSIBLE_ROLES_PATH=str(ROOT / "roles"),
        HOME=os.environ.get("HOME", "/root"),
        PATH=f"{place}/bin:{os.environ['PATH']}",
    )
    return done.returncode, said(done)


def test_the_repository_is_asked_in_its_own_words(restored: Archive, tmp_path: Path) -> None:
    status, output = play(tmp_path, restored, pgbackrest_restore_to=at(20), pgbackrest_restore_timeline="1")
    assert status == 0, output
    assert '{"timeline": 1, "newest": 2, "set": "first", "refused": ""}' in output, output
    assert f'["--type=time", "--target={at(20)}", "--target-action=promote", "--target-timeline=1"]' in output


def test_an_archive_that_cannot_be_read_is_refused(restored: Archive, tmp_path: Path) -> None:
    restored.texts.clear()
    status, output = play(tmp_path, restored)
    assert status != 0
    assert "does not say which timelines it has, so nothing was stopped" in output
    assert "00000002.history" in output


def test_a_moment_that_no_backup_leads_to_stops_nothing(restored: Archive, tmp_path: Path) -> None:
    status, output = play(tmp_path, restored, pgbackrest_restore_to=at(0))
    assert status != 0
    assert "Nothing was stopped and nothing overwritten: no backup is from before" in output
