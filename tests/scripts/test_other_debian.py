"""What the local stack has on one Debian only, on the other one, and the firewall, which it lacks, on both."""

import datetime as dt
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .ansible import ROOT, ansible, copied, said
from .host import Host

LABEL = "test-debian"
PARTS = Host(LABEL, "vuls-other-parts")
EDGE = Host(LABEL, "vuls-other-edge")
RELEASES = {PARTS: "bookworm:engine", EDGE: "trixie"}
GROUPS = {
    "redis": PARTS,
    "postgresql": PARTS,
    "scan_hosts": PARTS,
    "web": PARTS,
    "schedulers": PARTS,
    "loadbalancers": EDGE,
}
ROLES = "common,secrets,pki,firewall,postgresql,redis,docker,app_release,executor,vuls,web,worker,nginx"
FIREWALL = '{"firewall_enabled": true}'
UNITS = {
    PARTS: ("vuls-firewall", "postgresql@15-main", "redis-server", "docker", "vuls-executor", "vuls-worker@default"),
    EDGE: ("vuls-firewall", "nginx"),
}


def reloaded(unit: str) -> Callable[[Host], float]:
    """Return what tells when a unit last began or was reloaded, in seconds since the epoch."""

    def moment(host: Host) -> float:
        said = host.must(
            "systemctl", "show", "--value", "--timestamp=us+utc", "-p", "StateChangeTimestamp", unit
        ).split()
        return dt.datetime.fromisoformat(f"{said[1]}T{said[2]}+00:00").timestamp()

    return moment


def acl_loaded(host: Host) -> float:
    return float(host.must("stat", "-c", "%.Y", "/run/vuls-redis-acl"))


WRITTEN = [
    (PARTS, "/etc/redis/users.acl", acl_loaded),
    (PARTS, "/etc/systemd/system/redis-server.service.d/sandbox.conf", reloaded("redis-server")),
    (PARTS, "/etc/postgresql/15/main/pg_hba.conf", reloaded("postgresql@15-main")),
    (PARTS, "/etc/docker/daemon.json", reloaded("docker")),
    (EDGE, "/etc/nginx/nginx.conf", reloaded("nginx")),
]


@pytest.fixture(scope="module")
def hosts() -> Iterator[None]:
    built = subprocess.run([ROOT / "scripts/vuls/build.sh"], capture_output=True, text=True, timeout=900, check=False)
    assert built.returncode == 0, built.stderr
    try:
        for host, release in RELEASES.items():
            host.create(release)
        yield
    finally:
        PARTS.destroy()


@pytest.mark.usefixtures("hosts")
def test_roles_deploy_on_the_release_that_the_local_stack_does_not_have_them_on(tmp_path: Path) -> None:
    inventory, state = copied("local", tmp_path), tmp_path / "state"
    (inventory / "hosts.yml").write_text(json.dumps(_all_hosts()))

    def deployed(tags: str = ROLES) -> str:
        line = ["ansible-playbook", "-i", str(inventory), "site.yml", "--tags", tags, "-e", FIREWALL]
        done = ansible(*line, VULS_STATE_DIR=str(state))
        assert done.returncode == 0, said(done)[-6000:]
        return done.stdout

    deployed()
    changed = dict(re.findall(r"^(\S+) +: .* changed=(\d+)", deployed(), re.MULTILINE))
    assert set(changed.values()) == {"0"}, changed
    assert changed.keys() >= {host.name for host in RELEASES}
    for host, units in UNITS.items():
        assert host.must("systemctl", "is-active", *units).split() == ["active"] * len(units)
    for host, file, _ in WRITTEN:
        host.must("touch", file)
    written = {host: float(host.must("date", "+%s.%N")) for host in RELEASES}
    tags = "redis_config,postgresql_config,nginx_config,docker_config"
    deployed(tags)
    for host, file, read in WRITTEN:
        assert read(host) > written[host], f"what a run that was broken off has written to {file} is read by the next"
    changed = dict(re.findall(r"^(\S+) +: .* changed=(\d+)", deployed(tags), re.MULTILINE))
    assert set(changed.values()) == {"0"}, "and once only"


def _all_hosts() -> dict[str, object]:
    groups: dict[str, object] = {group: {"hosts": {host.name: {}}} for group, host in GROUPS.items()}
    inside = {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}
    controller = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    fleet = {"vars": inside, "children": groups | {"scan_targets": {"hosts": {}}}}
    return {"all": {"hosts": {"localhost": controller}, "children": {"fleet": fleet}}}
