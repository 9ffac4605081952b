"""A first host of the database without a cluster begins anew only where no other host can have the data."""

import json
import os
from pathlib import Path

import pytest

from .ansible import ROOT, ansible, said

SECRET = "a" * 40
# Both hosts are this machine, so what the role looks for on the other one is made here.
HOSTS = """
all:
  hosts:
    db-1: {ansible_connection: local}
    db-2: {ansible_connection: local}
    gone: {ansible_host: 127.0.0.1, ansible_port: 1}
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
"""


def begins(place: Path, peer: str, *there: str, **more: object) -> tuple[int, str]:
    """Run preflight of the role on db-1 beside a peer that has the files `there`; returns exit status and output."""
    (place / "hosts.yml").write_text(HOSTS)
    (place / "data").mkdir()
    for name in there:
        (place / "data" / name).touch()
    tasks = [
        {"import_role": {"name": "postgresql", "tasks_from": "preflight"}},
        {"debug": {"msg": "becomes a replica: {{ __postgresql_becomes_replica }}"}},
    ]
    (place / "play.yml").write_text(json.dumps([{"hosts": "db-1", "gather_facts": False, "tasks": tasks}]))
    given = {
        "postgresql_hosts": ["db-1", peer],
        "postgresql_replication_password": SECRET,
        "postgresql_users": [{"name": "vuls_owner", "kind": "owner", "password": SECRET}],
        "vuls_no_log": True,
        "__postgresql_has_cluster": False,
        "__postgresql_data_dir": str(place / "data"),
        "__postgresql_fence": str(place / "data/fenced"),
        **more,
    }
    result = ansible(
        "ansible-playbook",
        "-i",
        str(place / "hosts.yml"),
        "-e",
        json.dumps(given),
        str(place / "play.yml"),
        ANSIBLE_ROLES_PATH=str(ROOT / "roles"),
        HOME=os.environ.get("HOME", "/root"),
    )
    return result.returncode, said(result)


def test_it_begins_where_there_is_nothing(tmp_path: Path) -> None:
    status, output = begins(tmp_path, "db-2")
    assert status == 0, output
    assert "becomes a replica: False" in output


def test_it_follows_a_host_that_was_made_the_primary(tmp_path: Path) -> None:
    status, output = begins(tmp_path, "db-2", "PG_VERSION")
    assert status == 0, output
    assert "becomes a replica: True" in output


@pytest.mark.parametrize("mark", ["standby.signal", "fenced"])
def test_it_does_not_begin_beside_a_replica_of_the_lost_primary(tmp_path: Path, mark: str) -> None:
    status, output = begins(tmp_path, "db-2", "PG_VERSION", mark)
    assert status != 0
    assert "db-2 has the data of the primary that was lost" in output


def test_a_restore_from_backups_begins_beside_such_a_replica(tmp_path: Path) -> None:
    status, output = begins(tmp_path, "db-2", "PG_VERSION", "standby.signal", __postgresql_from_backup=True)
    assert status == 0, output


def test_it_does_not_begin_while_a_host_is_away(tmp_path: Path) -> None:
    status, output = begins(tmp_path, "gone")
    assert status != 0
    assert "is away that may be the primary" in output


def test_a_copy_of_the_primary_stands_in_its_place_only_when_it_is_whole_and_says_what_it_is() -> None:
    """Nothing else tells half a copy, or a whole one without the file, from a primary."""
    order = ["Copy the primary's files", "Say that it is a replica", "Put the copy in its place", "Take the fence away"]
    tasks = (ROOT / "roles/postgresql/tasks/replica.yml").read_text().split("- name: replica | ")
    told = {name: task for name, _, task in (task.partition("\n") for task in tasks) if name in order}
    assert list(told) == order
    assert all("__postgresql_data_dir" not in told[name] for name in order[:2])


def test_commits_wait_for_replicas_only_where_one_has_confirmed_some(tmp_path: Path) -> None:
    """The first ones would wait for ever: the replica needs the role that one of them makes."""
    states: dict[str, dict[str, object]] = {
        "first": {"__postgresql_confirmed": {"rc": 1}},
        "on": {"__postgresql_confirmed": {"rc": 0}},
        "off": {"__postgresql_confirmed": {"rc": 0}, "postgresql_synchronous": False},
        "replica": {"__postgresql_confirmed": {"rc": 0}, "__postgresql_is_replica": True},
    }
    given = {
        "ansible_facts": {"distribution_major_version": "13"},
        "postgresql_hosts": ["db-1", "db-2"],
        "postgresql_synchronous": True,
        **{f"__postgresql_{what}": False for what in ("is_replica", "becomes_replica", "is_fenced")},
    }
    role = ROOT / "roles/postgresql"
    files = {"vars_files": [str(role / "defaults/main.yml"), str(role / "vars/main.yml")], "gather_facts": False}
    template = {"src": str(role / "templates/vuls.conf.j2")}
    tasks = [
        {"template": {**template, "dest": str(tmp_path / name)}, "vars": {**given, **state}}
        for name, state in states.items()
    ]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "db-1", **files, "tasks": tasks}]))
    line = ("-i", "db-1,", "-c", "local", str(tmp_path / "play.yml"))
    result = ansible("ansible-playbook", *line, HOME=os.environ.get("HOME", "/root"))
    assert result.returncode == 0, said(result)
    waits = {
        name for name in states if "synchronous_standby_names = 'ANY 1 (\"db-2\")'" in (tmp_path / name).read_text()
    }
    assert waits == {"on"}
