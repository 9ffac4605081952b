"""What the local stack has on one Debian only, on the other; firewall and backups, which it lacks, on both."""

import datetime as dt
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.stack import wait_until

from .ansible import ROOT, ansible, copied, said
from .host import Host

LABEL = "test-debian"
PARTS = Host(LABEL, "vuls-other-parts")
EDGE = Host(LABEL, "vuls-other-edge")
RELEASES = {PARTS: "bookworm:engine", EDGE: "trixie"}
GROUPS = {
    "redis": PARTS,
    "postgresql": PARTS,
    "backup": PARTS,
    "scan_hosts": PARTS,
    "web": PARTS,
    "schedulers": PARTS,
    "loadbalancers": EDGE,
}
ROLES = "common,secrets,pki,firewall,pgbackrest,postgresql,redis,docker,app_release,executor,vuls,web,worker,nginx"
DATABASE = "common,secrets,pki,pgbackrest,postgresql"
BACKUP_TIMEOUT = 60
FIREWALL = '{"firewall_enabled": true}'
UNITS = {
    PARTS: (
        *("vuls-firewall", "postgresql@15-main", "vuls-backup-full.timer", "redis-server", "docker"),
        *("vuls-executor", "vuls-worker@default"),
    ),
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


def has_first_backup(host: Host) -> bool:
    known = json.loads(host.must("runuser", "-u", "postgres", "--", "pgbackrest", "--output=json", "info"))
    return [backup["type"] for cluster in known for backup in cluster["backup"]] == ["full"]


WRITTEN = [
    (PARTS, "/etc/redis/users.acl", acl_loaded),
    (PARTS, "/etc/systemd/system/redis-server.service.d/sandbox.conf", reloaded("redis-server")),
    (PARTS, "/etc/postgresql/15/main/pg_hba.conf", reloaded("postgresql@15-main")),
    (PARTS, "/etc/docker/daemon.json", reloaded("docker")),
    (EDGE, "/etc/nginx/nginx.conf", reloaded("nginx")),
]


class Deployment:
    """A copy of the local inventory, with hosts of this test's own in its groups."""

    def __init__(self, place: Path) -> None:
        self.inventory, self.state = copied("local", place), place / "state"

    def has(self, groups: dict[str, Host]) -> None:
        """Put one host into each of these groups, and none into the others."""
        entries: dict[str, object] = {group: {"hosts": {host.name: {}}} for group, host in groups.items()}
        inside = {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}
        controller = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        fleet = {"vars": inside, "children": entries | {"scan_targets": {"hosts": {}}}}
        everybody = {"hosts": {"localhost": controller}, "children": {"fleet": fleet}}
        (self.inventory / "hosts.yml").write_text(json.dumps({"all": everybody}))

    def run(self, tags: str, *further: str) -> dict[str, str]:
        """Deploy what has one of these tags, and return how much that changed by host."""
        line = ["ansible-playbook", "-i", str(self.inventory), "site.yml", "--tags", tags, "-e", FIREWALL, *further]
        done = ansible(*line, VULS_STATE_DIR=str(self.state))
        assert done.returncode == 0, said(done)[-6000:]
        return dict(re.findall(r"^(\S+) +: .* changed=(\d+)", done.stdout, re.MULTILINE))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    built = subprocess.run([ROOT / "scripts/vuls/build.sh"], capture_output=True, text=True, timeout=900, check=False)
    assert built.returncode == 0, built.stderr
    try:
        for host, release in RELEASES.items():
            host.create(release)
        yield Deployment(tmp_path_factory.mktemp("debian"))
    finally:
        PARTS.destroy()


def test_roles_deploy_on_the_release_that_the_local_stack_does_not_have_them_on(deployment: Deployment) -> None:
    deployment.has(GROUPS)
    deployment.run(ROLES)
    changed = deployment.run(ROLES)
    assert set(changed.values()) == {"0"}, changed
    assert changed.keys() >= {host.name for host in RELEASES}
    for host, units in UNITS.items():
        assert host.must("systemctl", "is-active", *units).split() == ["active"] * len(units)
    for host, file, _ in WRITTEN:
        host.must("touch", file)
    written = {host: float(host.must("date", "+%s.%N")) for host in RELEASES}
    tags = "redis_config,postgresql_config,nginx_config,docker_config"
    deployment.run(tags)
    for host, file, read in WRITTEN:
        assert read(host) > written[host], f"what a run that was broken off has written to {file} is read by the next"
    assert set(deployment.run(tags).values()) == {"0"}, "and once only"


def test_a_database_keeps_backups_on_the_other_release_too(deployment: Deployment) -> None:
    """Its pgBackRest is of another version, and the two do not talk to each other."""
    deployment.has(GROUPS | dict.fromkeys(("postgresql", "backup"), EDGE))
    only = ("--limit", f"localhost,{EDGE.name}")
    deployment.run(DATABASE, *only)
    changed = deployment.run(DATABASE, *only)
    assert changed.get(EDGE.name) == "0", changed
    for host in RELEASES:
        wait_until(partial(has_first_backup, host), timeout=BACKUP_TIMEOUT, what=f"the first backup on {host.name}")
