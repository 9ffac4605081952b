"""The role preflight on real hosts, bare ones: nothing to say of sound ones, and everything at once of ill ones.

Needs the engine and the base images.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .ansible import ROOT, ansible, copied, said

STACK = ROOT / "scripts/stack.sh"
LABEL = "test-preflight"
NEW, OLD = "vuls-preflight-new", "vuls-preflight-old"
HOSTS = f"{NEW}:trixie {OLD}:bookworm"
# What the hosts are asked with is Debian's own Python; this makes its clock five minutes late.
LATE = "import time\nnow = time.time\ntime.time = lambda: now() - 300\n"


def on(host: str, script: str) -> str:
    done = subprocess.run(
        ["docker", "exec", host, "sh", "-ec", script], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def hosts() -> Iterator[None]:
    made = subprocess.run(
        [STACK, "create", "--label", LABEL, "--hosts", HOSTS], capture_output=True, text=True, timeout=180, check=False
    )
    assert made.returncode == 0, made.stderr
    yield
    subprocess.run([STACK, "destroy", "--label", LABEL], timeout=120, check=True, capture_output=True)


def inventory(place: Path, **groups: list[str]) -> Path:
    """Return a copy of the local inventory with these two hosts in the groups of the parts."""
    copy = copied("local", place)
    by_host = {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}
    parts = {
        "loadbalancers": [NEW],
        "web": [NEW],
        "schedulers": [NEW],
        "redis": [OLD],
        "postgresql": [OLD],
        "scan_hosts": [NEW],
    } | groups
    everyone = {host for members in parts.values() for host in members}
    children = {part: {"hosts": dict.fromkeys(members)} for part, members in parts.items()}
    controller = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    tree = {
        "all": {"hosts": {"localhost": controller} | dict.fromkeys(sorted(everyone), by_host), "children": children}
    }
    (copy / "hosts.yml").write_text(json.dumps(tree))
    return copy


def preflight(copy: Path, place: Path, playbook: str = "playbooks/preflight.yml") -> subprocess.CompletedProcess[str]:
    return ansible("ansible-playbook", "-i", str(copy), playbook, VULS_STATE_DIR=str(place / "state"))


@pytest.mark.usefixtures("hosts")
def test_bare_hosts_that_are_sound_pass_and_nothing_changes(tmp_path: Path) -> None:
    # Since one moment for both looks: what the image has may be twenty minutes old in between.
    written = f"find /etc /opt /var/lib -xdev -type f -newermt '@{int(time.time()) - 1200}' | wc -l"
    before = [on(host, written) for host in (NEW, OLD)]
    fine = preflight(inventory(tmp_path), tmp_path)
    assert fine.returncode == 0, said(fine)
    assert "changed=1" not in said(fine)
    assert [on(host, written) for host in (NEW, OLD)] == before
    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("hosts")
def test_everything_that_is_wrong_on_hosts_comes_at_once(tmp_path: Path) -> None:
    address = on(OLD, "hostname -i")
    # A way that is closed, a CA of somebody else, the line for its own name that Debian writes, a clock.
    on(NEW, f"ip route add blackhole {address}/32")
    on(NEW, "mkdir -p /etc/vuls/pki && echo another >/etc/vuls/pki/ca.crt")
    on(NEW, f"cp /etc/hosts /tmp/hosts && sed 's/^[0-9.]*\\t{NEW}/127.0.1.1\\t{NEW}/' /tmp/hosts >/etc/hosts")
    on(OLD, f"cd /usr/lib/python3/dist-packages && echo '{LATE}' >late.py && echo import late >late.pth")
    copy = inventory(tmp_path, loadbalancers=[OLD], postgresql=[OLD, NEW], web=[NEW, "vuls-preflight-gone"])
    settings = {
        "vuls_database_host": "no-such-database",
        "preflight_memory_mib": {"redis": 9_000_000},
        "preflight_disk_mib": {"web": 900_000_000},
    }
    (copy / "group_vars/all/zz-test.yml").write_text(json.dumps(settings))
    try:
        refused = preflight(copy, tmp_path, "site.yml")
    finally:
        on(NEW, f"ip route del blackhole {address}/32; cat /tmp/hosts >/etc/hosts; rm -r /etc/vuls")
        on(OLD, "rm /usr/lib/python3/dist-packages/late.*")
    assert refused.returncode != 0
    for words in (
        "[access] vuls-preflight-gone cannot be",
        f"[reachability] {NEW} does not reach Redis at {OLD}:6379",
        f"[certificates] {NEW} trust another CA",
        f"[names] {NEW} does not know the name no-such-database",
        f"[names] on {NEW} its own name leads to 127.0.1.1",
        f"[memory] {OLD} has",
        f"[disk] {NEW} has",
        f"[versions] the database hosts have different versions of PostgreSQL: 15 on {OLD}; 17 on {NEW}",
        f"[clocks] the clock of {OLD} is at least",
    ):
        assert words in said(refused), words
    assert "Make the secrets" not in refused.stdout
    assert not (tmp_path / "state").exists(), "nothing was changed"


@pytest.mark.usefixtures("hosts")
def test_a_service_that_listens_for_its_own_host_alone_is_found(tmp_path: Path) -> None:
    serve = "setsid python3 -m http.server 6379 --bind 127.0.0.1 >/dev/null 2>&1 & echo $! >/tmp/server"
    on(OLD, f"{serve}; until ss -Hltn sport = :6379 | grep -q .; do sleep 0.1; done")
    try:
        refused = preflight(inventory(tmp_path), tmp_path)
    finally:
        on(OLD, "kill $(cat /tmp/server)")
    assert refused.returncode != 0
    assert f"{NEW} is refused by Redis at {OLD}:6379, although something listens there" in said(refused)
    assert "1 finding" in said(refused)
