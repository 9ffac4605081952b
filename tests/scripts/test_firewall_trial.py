"""Firewall rules on trial never outlive the trial, also with a boot in its midst. Needs the engine and base images."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .ansible import ROOT, ansible, said
from .host import Host

MACHINE = Host("test-firewall", "vuls-firewall-1")
HOST, on, must = MACHINE.name, MACHINE.on, MACHINE.must
PROGRAM, FILE = "/usr/local/sbin/vuls-firewall", "/etc/vuls/firewall.nft"
CONFIRMED, UNTRIED, FURTHER = "22", "2222", "2223"  # ports of SSH, by which rules are told apart
SHORT = 1  # seconds
INVENTORY = f"""
all:
  hosts:
    {HOST}: {{ansible_connection: community.docker.docker, ansible_python_interpreter: /usr/bin/python3}}
  children:
    web: {{hosts: {{{HOST}: }}}}
"""
FLOWS = [{"from": ["anyone"], "to": "web", "ports": ["8441"], "why": "a test"}]


def eventually(holds: Callable[[], bool], what: str, seconds: float = 40) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def boot() -> None:
    """Start the host anew: /run is empty then, and its network, rules included, another one."""
    subprocess.run(["docker", "restart", HOST], capture_output=True, timeout=60, check=True)
    eventually(lambda: on("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}, "it booted")


def in_force() -> str:
    """Return the port that the rules open for SSH."""
    rules = must("nft", "list", "chain", "inet", "vuls_firewall", "input").splitlines()
    (port,) = {line.split("tcp dport", 1)[1].split()[0] for line in rules if 'comment "SSH"' in line}
    return port


def write(port: str) -> str:
    """Write rules that differ from the confirmed ones in the port of SSH; returns their path on the host."""
    path = f"/root/{port}.nft"
    must("sh", "-c", f"sed '/SSH/s/dport {{ [0-9]* }}/dport {{ {port} }}/' {FILE} > {path} && grep -q '{port}' {path}")
    return path


def attempt(port: str, seconds: int = 600) -> None:
    must(PROGRAM, "try", write(port), str(seconds))
    assert in_force() == port or seconds == SHORT, "the end of a short trial may come before anybody has looked"


@pytest.fixture(scope="module")
def firewall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """A host with the role, and what deploys it; returns what Ansible said."""
    place: Path = tmp_path_factory.mktemp("firewall")
    (place / "hosts.yml").write_text(INVENTORY)
    (place / "play.yml").write_text(
        json.dumps([{"hosts": HOST, "gather_facts": False, "roles": [{"role": "firewall"}]}])
    )
    given = {"firewall_flows": FLOWS, "firewall_tiers": {"web": [HOST]}, "firewall_own_tiers": ["web"]}

    def deploy() -> str:
        done = ansible(
            "ansible-playbook",
            *("-i", str(place / "hosts.yml"), "-e", json.dumps(given), str(place / "play.yml")),
            ANSIBLE_ROLES_PATH=str(ROOT / "roles"),
            HOME=os.environ.get("HOME", "/root"),
        )
        assert done.returncode == 0, said(done)
        return said(done)

    MACHINE.create("trixie")
    try:
        deploy()
        assert in_force() == CONFIRMED
        yield deploy
    finally:
        MACHINE.destroy()


def test_a_boot_loads_the_rules_that_were_confirmed_not_those_on_trial(firewall: Callable[[], str]) -> None:
    attempt(UNTRIED)
    boot()
    assert in_force() == CONFIRMED
    late = on(PROGRAM, "confirm")
    assert late.returncode == 1, "what was on trial is in force no more, so nobody came through it"
    assert "no rules are on trial" in late.stderr
    assert "changed=0" in firewall(), "what shall be is what is in force"


@pytest.mark.usefixtures("firewall")
def test_rules_that_nobody_confirms_are_taken_back_and_a_boot_does_not_bring_them() -> None:
    attempt(UNTRIED, SHORT)
    eventually(lambda: in_force() == CONFIRMED, "the rules of before are back")
    eventually(lambda: on("test", "-e", f"{FILE}.refused").returncode == 0, "the new ones are set aside")
    late = on(PROGRAM, "confirm")
    assert late.returncode == 1
    assert "no rules are on trial" in late.stderr
    boot()
    assert in_force() == CONFIRMED


@pytest.mark.usefixtures("firewall")
def test_a_second_trial_in_the_midst_of_one_goes_back_to_what_was_confirmed() -> None:
    attempt(UNTRIED)
    attempt(FURTHER, SHORT)
    eventually(lambda: in_force() == CONFIRMED, "the rules of before the first trial are back")


@pytest.mark.usefixtures("firewall")
def test_rules_that_the_kernel_refuses_are_taken_back_at_once() -> None:
    must("sh", "-c", "echo nonsense > /root/nonsense.nft")
    assert on(PROGRAM, "try", "/root/nonsense.nft", "600").returncode != 0
    assert in_force() == CONFIRMED
    assert on("test", "-e", f"{FILE}.trial").returncode != 0


@pytest.mark.usefixtures("firewall")
def test_confirmed_rules_stay_and_come_with_a_boot() -> None:
    attempt(UNTRIED)
    must(PROGRAM, "confirm")
    assert on("systemctl", "is-active", "vuls-firewall-undo.timer").stdout.strip() != "active"
    boot()
    assert in_force() == UNTRIED
