"""Taking instances out of a balancer changes the marks in its configuration, and nothing else."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .ansible import ROOT, ansible, said
from .rules import plugin

FILTERS = plugin("nginx", "filter_plugins", "nginx_balanced")
BALANCED = FILTERS.nginx_balanced
INSTANCES = ["web-1:1", "web-1:2", "web-2:1", "web-2:2"]
DOWN = [[], ["web-1:1"], ["web-1:2", "web-2:1"], ["web-2:1", "web-2:2"]]
KINDS: dict[str, dict[str, Any]] = {
    "pools": {"nginx_backend_hosts": ["web-1", "web-2"]},
    "sticky": {"nginx_backend_hosts": ["web-1", "web-2"], "__nginx_asked": {"stderr": "nginx/1.29.6"}},
    "sockets": {"nginx_backend_hosts": ["web-1"], "nginx_backend_socket": "/run/vuls-web-{n}/http.sock"},
    "acme": {
        "nginx_backend_hosts": ["web-1", "web-2"],
        "nginx_certificate_source": "acme",
        "nginx_acme_peers": ["web-1"],
        "nginx_http_port": 80,
    },
}


@pytest.fixture(scope="module")
def configurations(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], str]:
    """Return what the template makes of each kind of inventory and each of DOWN."""
    place = tmp_path_factory.mktemp("balanced")
    tasks = [
        {
            "include_role": {"name": "nginx", "tasks_from": "drained", "public": True},
            "vars": {"nginx_drained_dir": str(place / "none")},
        }
    ]
    for kind, variables in KINDS.items():
        for number, down in enumerate(DOWN):
            known = [one for one in down if one.split(":")[0] in variables["nginx_backend_hosts"]]
            tasks.append(
                {
                    "template": {
                        "src": str(ROOT / "roles/nginx/templates/nginx.conf.j2"),
                        "dest": str(place / f"{kind}-{number}"),
                    },
                    "vars": {"nginx_backend_down": known, **variables},
                }
            )
    given = {"vuls_no_log": True, "ansible_facts": {"distribution_major_version": "12"}}
    (place / "play.yml").write_text(
        json.dumps([{"hosts": "all", "gather_facts": False, "vars": given, "tasks": tasks}])
    )
    line = ["ansible-playbook", "-i", "lb-1,", "-c", "local", str(place / "play.yml")]
    done = ansible(*line, ANSIBLE_ROLES_PATH=str(ROOT / "roles"), HOME=os.environ.get("HOME", "/root"))
    assert done.returncode == 0, said(done)
    return {(kind, number): (place / f"{kind}-{number}").read_text() for kind in KINDS for number in range(len(DOWN))}


@pytest.mark.parametrize("kind", list(KINDS))
def test_it_is_what_a_deployment_would_write_whatever_was_marked_before(
    configurations: dict[tuple[str, int], str], kind: str
) -> None:
    assert (" sticky cookie" in configurations[kind, 0]) is (kind == "sticky")
    assert configurations[kind, 0] != configurations[kind, 1]
    for before in range(len(DOWN)):
        for after, down in enumerate(DOWN):
            assert BALANCED(configurations[kind, before], down) == configurations[kind, after]


@pytest.mark.parametrize("kind", list(KINDS))
def test_who_is_given_nothing_is_read_out_of_what_is_there(
    configurations: dict[tuple[str, int], str], kind: str
) -> None:
    for number, down in enumerate(DOWN):
        known = [one for one in down if one.split(":")[0] in KINDS[kind]["nginx_backend_hosts"]]
        assert FILTERS.nginx_down(configurations[kind, number], [*INSTANCES, "web-7:1"]) == known


def test_what_is_not_deployed_yet_is_left_as_it_is(configurations: dict[tuple[str, int], str]) -> None:
    """The marks go by what the configuration says, here another port and limit than the inventory's."""
    deployed = configurations["pools", 0].replace(":8441 ", ":9441 ").replace("client_max_body_size 1m", "# by hand")
    marked = BALANCED(deployed, ["web-1:1", "web-7:1"])
    assert marked.replace(" down;", ";") == deployed
    assert {line.split()[1] for line in marked.splitlines() if line.endswith(" down;")} == {"web-1:9441"}


def test_the_role_writes_marks_alone() -> None:
    """The entry point that rollouts and drains use has no template of the whole."""
    text = Path(ROOT / "roles/nginx/tasks/balance.yml").read_text()
    assert "nginx_balanced" in text
    assert "nginx.conf.j2" not in text
