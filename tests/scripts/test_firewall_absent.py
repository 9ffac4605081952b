"""A firewall that is turned off leaves no rules in force, whatever became of its unit."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from .ansible import ROOT, ansible, said

# The kernel's table is a file here, and systemd has no active unit.
NFT = """#!/bin/sh
echo "nft $*" >>'{place}/said'
case "$*" in
'list table inet vuls_firewall') test -e '{place}/table' ;;
--check*) ;;
*'delete table inet vuls_firewall') rm -f '{place}/table' ;;
*) exit 1 ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>'{place}/said'
case "$1" in
show) printf 'Id=vuls-firewall.service\\nLoadState=loaded\\nActiveState=failed\\n' ;;
stop) exit 5 ;;
is-enabled) echo disabled; exit 1 ;;
esac
"""


def turn_off(place: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the role with firewall_enabled: false on this machine, with programs and files of its own."""
    programs = place / "bin"
    programs.mkdir(exist_ok=True)
    for name, text in (("nft", NFT), ("systemctl", SYSTEMCTL)):
        (programs / name).write_text(text.format(place=place))
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    play = {"hosts": "localhost", "gather_facts": False, "environment": {"PATH": path}, "roles": [{"role": "firewall"}]}
    (place / "play.yml").write_text(json.dumps([play]))
    given = {
        "firewall_enabled": False,
        "__firewall_unit": os.path.relpath(place / "vuls-firewall.service", "/etc/systemd/system"),
        **{f"__firewall_{name}": str(place / name) for name in ("file", "before", "program")},
    }
    line = ["ansible-playbook", *flags, "-i", "localhost,", "-c", "local", "-e", json.dumps(given)]
    done = ansible(
        *line,
        str(place / "play.yml"),
        ANSIBLE_ROLES_PATH=str(ROOT / "roles"),
        HOME=os.environ.get("HOME", "/root"),
        PATH=path,
    )
    assert done.returncode == 0, said(done)
    return done


@pytest.mark.parametrize("left", [["table"], ["table", "vuls-firewall.service", "program", "before"]])
def test_rules_that_no_active_unit_stands_for_are_taken_away(tmp_path: Path, left: list[str]) -> None:
    for name in left:
        (tmp_path / name).touch()
    if len(left) == 1:
        assert "changed=0" not in said(turn_off(tmp_path, "--check"))
        assert (tmp_path / "table").exists(), "a dry run takes nothing away"
    turn_off(tmp_path)
    assert not [name for name in left if (tmp_path / name).exists()]
    assert "systemctl stop vuls-firewall-undo.timer vuls-firewall-undo.service" in (tmp_path / "said").read_text()


def test_where_there_never_was_a_firewall_nothing_is_asked_but_that(tmp_path: Path) -> None:
    assert "changed=0" in said(turn_off(tmp_path))
    assert (tmp_path / "said").read_text() == "nft list table inet vuls_firewall\n"
