"""What an operator took out of service stays out, whatever runs, and every run says so."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .ansible import ROOT, ansible, said

WEB = ["web-1", "web-2"]


def play(place: Path, tasks: list[dict[str, Any]], *flags: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run tasks on a balancer and two web hosts that all are this machine; marks and lock lie in `place`."""
    given = {
        "vuls_no_log": True,
        "ansible_facts": {"distribution_major_version": "12"},
        "nginx_drained_dir": str(place / "drained"),
        "nginx_backend_hosts": WEB,
        "web_instances": 2,
        "rollout_lock_dir": str(place / "lock"),
        "rollout_app_root": str(place / "vuls"),
        "rollout_web": WEB,
        "rollout_loadbalancers": ["lb-1"],
        **{f"rollout_{name}": [] for name in ("schedulers", "scan_hosts", "database_hosts")},
        **variables,
    }
    (place / "play.yml").write_text(
        json.dumps([{"hosts": "all", "gather_facts": False, "vars": given, "tasks": tasks}])
    )
    line = ["ansible-playbook", *flags, "-i", "lb-1,web-1,web-2,", "-c", "local", str(place / "play.yml")]
    return ansible(*line, ANSIBLE_ROLES_PATH=str(ROOT / "roles"), HOME=os.environ.get("HOME", "/root"))


def role(name: str, entry: str, *, host: str = "", **variables: Any) -> dict[str, Any]:
    """Return the task that runs an entry point of a role, on one host or on all."""
    task = {"include_role": {"name": name, "tasks_from": entry, "public": True}, "vars": variables}
    return task | ({"when": f"inventory_hostname == '{host}'"} if host else {})


def mark(*instances: str, back: bool = False) -> dict[str, Any]:
    return role("nginx", "mark", host="lb-1", nginx_drain=list(instances), nginx_drain_back=back)


def written(place: Path, *before: dict[str, Any], **variables: Any) -> dict[str, bool]:
    """Return which addresses the balancer's configuration has marks for, all over."""
    render = {
        "template": {"src": str(ROOT / "roles/nginx/templates/nginx.conf.j2"), "dest": str(place / "nginx.conf")},
        "when": "inventory_hostname == 'lb-1'",
    }
    done = play(place, [*before, role("nginx", "drained", host="lb-1"), render], **variables)
    assert done.returncode == 0, said(done)
    servers = [line.split() for line in (place / "nginx.conf").read_text().splitlines() if " max_fails=" in line]
    assert servers
    marks = {(words[1], words[-1] == "down;") for words in servers}
    assert len(marks) == len({address for address, _ in marks}), "in each upstream the same"
    return dict(marks)


def test_a_mark_is_kept_by_whoever_writes_the_configuration_until_it_is_taken_away(tmp_path: Path) -> None:
    nobody = dict.fromkeys(("web-1:8441", "web-1:8442", "web-2:8441", "web-2:8442"), False)
    assert written(tmp_path) == nobody
    assert written(tmp_path, mark("web-1:1", "web-1:2")) == nobody | {"web-1:8441": True, "web-1:8442": True}
    # A rollout that takes another one out, or a drain of it, and then gives to all again.
    both = nobody | {"web-1:8441": True, "web-1:8442": True, "web-2:8441": True}
    assert written(tmp_path, nginx_backend_down=["web-2:1"]) == both
    assert written(tmp_path, nginx_backend_down=[]) == nobody | {"web-1:8441": True, "web-1:8442": True}
    assert written(tmp_path, mark("web-1:2", back=True)) == nobody | {"web-1:8441": True}


def test_a_mark_of_a_host_that_is_gone_is_in_nobodys_way(tmp_path: Path) -> None:
    assert not any(written(tmp_path, mark("web-9:1")).values())


def test_a_deployment_says_who_stays_out_and_how_to_bring_it_back(tmp_path: Path) -> None:
    assert play(tmp_path, [mark("web-2:1")]).returncode == 0
    done = play(tmp_path, [role("nginx", "configure", host="lb-1")], "--check")
    assert "An operator took web-2:1 out of service" in said(done)
    assert "-e back=true -e drain=web-2:1" in said(done)


def test_the_last_ones_that_serve_are_not_drained_and_the_lock_is_let_go(tmp_path: Path) -> None:
    assert play(tmp_path, [mark("web-1:1", "web-1:2", "web-2:1")]).returncode == 0
    given = {"rollout_verb": "drain", "rollout_drain": "web-2", "rollout_source": str(ROOT)}
    done = play(tmp_path, [role("rollout", "drain")], **given)
    assert done.returncode != 0
    assert "Nobody would be left to serve without web-2" in said(done)
    assert not (tmp_path / "lock/lock").exists()
    assert sorted(path.name for path in (tmp_path / "drained").iterdir()) == ["web-1:1", "web-1:2", "web-2:1"]


def test_what_does_not_come_back_stays_out_also_where_it_never_was(tmp_path: Path) -> None:
    given = {"rollout_verb": "drain", "rollout_drain": "web-2", "rollout_drain_back": True, "rollout_source": str(ROOT)}
    # The balancer's configuration is refused, whatever this machine has.
    done = play(tmp_path, [role("rollout", "drain")], **given, nginx_backend_hosts=[])
    assert done.returncode != 0
    assert "It stays out until playbooks/drain.yml -e back=true" in said(done)
    assert sorted(path.name for path in (tmp_path / "drained").iterdir()) == ["web-2:1", "web-2:2"]


@pytest.mark.parametrize(
    ("drained", "verb", "batch", "is_refused"),
    [
        # Of web-2 one instance serves while the other is replaced.
        pytest.param(["web-1:1", "web-1:2"], "rollout", 1, False, marks=pytest.mark.long),
        (["web-1:1", "web-1:2", "web-2:1"], "rollout", 1, True),
        (["web-1:1", "web-1:2", "web-2:1"], "rollback", 1, False),
        pytest.param(["web-1:2", "web-2:2"], "rollout", 1, False, marks=pytest.mark.long),
        # Both hosts at a time.
        pytest.param(["web-1:2", "web-2:2"], "rollout", 2, True, marks=pytest.mark.long),
    ],
)
def test_a_rollout_refuses_to_replace_the_last_ones_that_serve_and_a_rollback_does_not(
    tmp_path: Path, drained: list[str], verb: str, batch: int, is_refused: bool
) -> None:
    assert play(tmp_path, [mark(*drained)]).returncode == 0
    given = {"rollout_verb": verb, "rollout_canary": 0, "rollout_batch": batch, "rollout_source": str(ROOT)}
    done = play(tmp_path, [role("rollout", "plan")], **given)
    assert ("Nobody would serve while" in said(done)) is is_refused
    # What comes next there: no host here has a release.
    assert ("There is no release on" in said(done)) is not is_refused
