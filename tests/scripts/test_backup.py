"""A backup that is asked for by hand is a new one, whatever runs already.

The playbook is the real one; systemd and pgBackRest are stand-ins that behave like them.
"""

import json
import os
from pathlib import Path

import pytest

from .ansible import ROOT, ansible, said

# To start a unit that is starting waits for it; a backup that ends is in the repository.
SYSTEMCTL = """#!/bin/sh
echo "$1" "${{2%.service}}" >>{place}/asked
case $1 in
list-units) cat {place}/running; : >{place}/running ;;
start) [ -e {place}/skipped ] || echo x >>{place}/backups ;;
esac
"""
PGBACKREST = """#!/usr/bin/env python3
import json, sys
if "verify" in sys.argv:
    sys.exit(print("status: ok"))
more = {{"timestamp": {{"start": 1, "stop": 2}}, "info": {{"repository": {{"delta": 9}}}}}}
count = len(open("{place}/backups").readlines())
print(json.dumps([{{"backup": [{{"label": str(number + 1), **more}} for number in range(count)]}}]))
"""
FULL = "vuls-backup@full"


def backup(place: Path, *running: str, skipped: bool = False) -> tuple[int, list[str], str]:
    """Back up beside what runs; returns exit status, which units were started, and the output."""
    (place / "bin").mkdir()
    for name, text in {"systemctl": SYSTEMCTL, "pgbackrest": PGBACKREST, "journalctl": "#!/bin/sh\necho why\n"}.items():
        (place / "bin" / name).write_text(text.format(place=place))
        (place / "bin" / name).chmod(0o755)
    (place / "running").write_text("".join(f"{unit}.service loaded activating start\n" for unit in running))
    (place / "backups").write_text("x\n")
    if skipped:
        (place / "skipped").touch()
    given = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "vuls_backup_host": "backup-1",
        "__pgbackrest_verify": "/bin/true",
    }
    (place / "hosts.yml").write_text(json.dumps({"backup": {"hosts": {"backup-1": {}}}}))
    result = ansible(
        *("ansible-playbook", "-i", str(place / "hosts.yml"), "-e", json.dumps(given), "playbooks/backup.yml"),
        PATH=f"{place}/bin:{os.environ['PATH']}",
        HOME=os.environ.get("HOME", str(ROOT)),
    )
    asked = (place / "asked").read_text().splitlines() if (place / "asked").exists() else []
    return result.returncode, [line.removeprefix("start ") for line in asked if line.startswith("start ")], said(result)


@pytest.mark.long
def test_it_makes_a_backup_and_says_which(tmp_path: Path) -> None:
    status, started, output = backup(tmp_path)
    assert status == 0, output
    assert started == [FULL]
    assert "2 backups; the newest is 2" in output


@pytest.mark.parametrize("unit", [FULL, pytest.param("vuls-backup@diff", marks=pytest.mark.long)])
def test_one_that_runs_already_is_waited_for_and_another_one_made(tmp_path: Path, unit: str) -> None:
    status, started, output = backup(tmp_path, unit)
    assert status == 0, output
    assert started == [unit, FULL]
    assert "the newest is 3" in output


def test_where_none_was_made_it_does_not_say_that_there_is_one(tmp_path: Path) -> None:
    """A condition of the unit may not hold, as on a replica; systemd calls that a success."""
    status, _, output = backup(tmp_path, skipped=True)
    assert status != 0
    assert "There is no new backup" in output
    assert "the newest is" not in output
