"""Who is fenced before a replica of the database is promoted, and who is not.

The playbook is the real one; in the place of the roles stands what writes down what they were asked for, on which
host. What the role does is for test_fence.py and tests/ha, which have hosts.
"""

import json
import os
from pathlib import Path

import pytest

from .ansible import ROOT, ansible, said

# On each of these the stand-in of the role tells what it was asked for, and of a promotion whether it failed.
ENTRIES = ("fence", "unfence", "promote", "rejoin", "confirm", "main")
OBSERVE = [
    {"name": "Tell", "set_fact": {"postgresql_state": "{{ test_states[inventory_hostname] }}"}},
    {
        "name": "Tell more",
        "set_fact": {
            name: f"{{{{ (test_facts[inventory_hostname] | default({{}})).{name} | default({other}) }}}}"
            for name, other in {
                "postgresql_left": {},
                "postgresql_has": 0,
                "postgresql_last": "''",
                "postgresql_timeline": 0,
            }.items()
        },
    },
]
# What an old primary that an earlier run fenced is seen to be.
LEFT = {"is_whole": True, "is_shut_down": True, "timeline": 4, "written": "0/50"}


def promote(
    place: Path,
    states: dict[str, str],
    *known: str,
    fails: str = "",
    synchronous: bool = False,
    facts: dict[str, dict[str, object]] | None = None,
) -> tuple[int, list[str], str]:
    """Promote db-2 where hosts are in these states; returns exit status, what was asked of whom, and the output."""
    tasks = place / "roles/postgresql/tasks"
    tasks.mkdir(parents=True)
    (tasks / "observe.yml").write_text(json.dumps(OBSERVE))
    for entry in ENTRIES:
        # The host that the task runs on, delegated or not.
        line = f"echo {entry} $TEST_HOST{' $TEST_WRITTEN' if entry == 'promote' else ''} >> {place}/asked"
        environment = {"TEST_WRITTEN": "{{ postgresql_written_elsewhere | default('') }}"}
        wrong = {"name": "Fail", "fail": {"msg": "as wished"}, "when": f"test_fails == '{entry} ' ~ inventory_hostname"}
        (tasks / f"{entry}.yml").write_text(
            json.dumps([{"name": "Write down", "shell": line, "environment": environment}, wrong])
        )
    for role in ("web", "scheduler", "worker"):
        (place / "roles" / role / "tasks").mkdir(parents=True)
        (place / "roles" / role / "tasks/main.yml").write_text("[]")
    # Every host is this machine, and each knows which one it is by a variable of its connection.
    hosts = {name: {"ansible_shell_executable": f"{place}/{name}"} for name in states}
    for name in states:
        (place / name).write_text(f'#!/bin/sh\nTEST_HOST={name} exec /bin/sh "$@"\n')
        (place / name).chmod(0o755)
    (place / "hosts.yml").write_text(json.dumps({"postgresql": {"hosts": hosts}, "web": {}, "schedulers": {}}))
    given = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "promote_host": "db-2",
        "promote_unreachable": list(known),
        "postgresql_synchronous": synchronous,
        "vuls_database_closed_off_dir": str(place / "closed"),
        "test_states": states,
        "test_facts": facts or {},
        "test_fails": fails,
    }
    result = ansible(
        "ansible-playbook",
        *("-i", str(place / "hosts.yml"), "-e", json.dumps(given), "playbooks/promote_database.yml"),
        ANSIBLE_ROLES_PATH=str(place / "roles"),
        HOME=os.environ.get("HOME", str(ROOT)),
    )
    asked = place / "asked"
    return result.returncode, asked.read_text().splitlines() if asked.exists() else [], said(result)


def test_an_old_primary_that_is_down_is_fenced_before_another_one_is_promoted(tmp_path: Path) -> None:
    status, asked, output = promote(tmp_path, {"db-1": "stopped", "db-2": "replica"}, "db-1")
    assert status == 0, output
    assert asked == ["fence db-1", "promote db-2", "main db-2", "rejoin db-1"]


@pytest.mark.long
def test_a_primary_and_a_host_that_is_down_are_both_fenced(tmp_path: Path) -> None:
    states = {"db-1": "primary", "db-2": "replica", "db-3": "stopped", "db-4": "replica"}
    status, asked, output = promote(tmp_path, states, "db-3")
    assert status == 0, output
    assert sorted(asked[:2]) == ["fence db-1", "fence db-3"]
    assert asked[2] == "promote db-2"
    assert "fence db-4" not in asked


@pytest.mark.long
def test_nothing_is_promoted_while_nobody_said_that_a_host_that_is_down_is_given_up(tmp_path: Path) -> None:
    status, asked, output = promote(tmp_path, {"db-1": "stopped", "db-2": "replica"})
    assert status != 0
    assert asked == []
    assert "may be a primary that takes writes" in output


def test_one_that_is_down_and_cannot_be_fenced_keeps_another_from_being_promoted(tmp_path: Path) -> None:
    states = {"db-1": "stopped", "db-2": "replica"}
    status, asked, output = promote(tmp_path, states, "db-1", fails="fence db-1")
    assert status != 0
    assert asked == ["fence db-1", "unfence db-1"]
    assert "Nothing was promoted" in output


@pytest.mark.long
def test_where_the_promotion_fails_the_fence_is_taken_away_from_who_has_it(tmp_path: Path) -> None:
    states = {"db-1": "primary", "db-2": "replica", "db-3": "stopped"}
    status, asked, output = promote(tmp_path, states, "db-3", fails="promote db-2")
    assert status != 0
    assert sorted(asked[:2]) == ["fence db-1", "fence db-3"]
    assert asked[2:] == ["promote db-2", "unfence db-1", "unfence db-3"]
    assert "db-2 did not become the primary" in output


@pytest.mark.long
def test_commits_wait_for_replicas_again_once_there_is_one(tmp_path: Path) -> None:
    """Before, nobody could confirm them."""
    status, asked, output = promote(tmp_path, {"db-1": "primary", "db-2": "replica"}, synchronous=True)
    assert status == 0, output
    assert asked == ["fence db-1", "promote db-2", "main db-2", "rejoin db-1", "confirm db-2"]


@pytest.mark.long
def test_where_another_replica_follows_commits_wait_for_it_at_once(tmp_path: Path) -> None:
    states = {"db-1": "unreachable", "db-2": "replica", "db-3": "replica"}
    status, asked, output = promote(tmp_path, states, "db-1", synchronous=True)
    assert status == 0, output
    assert asked == ["promote db-2", "main db-2", "confirm db-2"]


def test_a_hand_over_that_was_broken_off_waits_for_what_the_fenced_primary_had_written(tmp_path: Path) -> None:
    facts: dict[str, dict[str, object]] = {"db-1": {"postgresql_left": LEFT}, "db-2": {"postgresql_timeline": 4}}
    status, asked, output = promote(tmp_path, {"db-1": "fenced", "db-2": "replica"}, facts=facts, fails="promote db-2")
    assert status != 0
    assert asked == ["promote db-2 0/50", "unfence db-1"], output


@pytest.mark.long
@pytest.mark.parametrize(
    ("left", "known", "expected"),
    [
        # Of one that died nobody can say what it had accepted.
        (LEFT | {"is_shut_down": False}, [], []),
        (LEFT | {"is_shut_down": False}, ["db-1"], ["promote db-2", "main db-2", "rejoin db-1"]),
        # One that another promotion left behind, and one without a cluster.
        (LEFT | {"timeline": 3}, [], ["promote db-2", "main db-2", "rejoin db-1"]),
        (LEFT | {"is_whole": False}, [], ["promote db-2", "main db-2", "rejoin db-1"]),
    ],
)
def test_a_fenced_host_is_waited_for_only_where_it_may_have_more(
    tmp_path: Path, left: dict[str, object], known: list[str], expected: list[str]
) -> None:
    facts: dict[str, dict[str, object]] = {"db-1": {"postgresql_left": left}, "db-2": {"postgresql_timeline": 4}}
    status, asked, output = promote(tmp_path, {"db-1": "fenced", "db-2": "replica"}, *known, facts=facts)
    assert asked == expected, output
    assert (status == 0) is bool(expected)
    assert expected or "promote_unreachable=db-1" in output


def test_a_replica_that_has_less_than_another_one_is_not_promoted(tmp_path: Path) -> None:
    states = {"db-1": "unreachable", "db-2": "replica", "db-3": "replica"}
    facts: dict[str, dict[str, object]] = {"db-2": {"postgresql_has": 80}, "db-3": {"postgresql_has": 96}}
    status, asked, output = promote(tmp_path, states, "db-1", facts=facts)
    assert status != 0
    assert asked == []
    assert "Promote that one (-e promote_host=db-3)" in output


@pytest.mark.long
def test_the_one_that_has_most_is_promoted_and_its_last_transaction_told(tmp_path: Path) -> None:
    states = {"db-1": "unreachable", "db-2": "replica", "db-3": "replica"}
    facts: dict[str, dict[str, object]] = {
        "db-2": {"postgresql_has": 96, "postgresql_last": "7"},
        "db-3": {"postgresql_has": 80},
    }
    status, asked, output = promote(tmp_path, states, "db-1", facts=facts)
    assert status == 0, output
    assert asked == ["promote db-2", "main db-2"]
    assert "was 7 s old then" in output
