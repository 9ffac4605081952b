"""Two balancers on test hosts, and Pebble, a real ACME server, on the controller."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
LABEL, NETWORK = "test-balancers", "vuls-live-test-balancers"
HOSTS = {"balancer-1": "bookworm", "balancer-2": "trixie"}


def run(*argv: str, timeout: float = 120, **environment: str) -> str:
    """Run a program and return what it printed; fails with all of it when the program does."""
    done = subprocess.run(
        argv, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{argv} ended with {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def on(host: str, script: str, timeout: float = 60) -> str:
    """Run a shell script on a test host."""
    return run("docker", "exec", host, "sh", "-c", script, timeout=timeout)


def wait_until(probe: Callable[[], T | None], *, timeout: float, what: str) -> T:
    """Call `probe` until it returns something true and return that."""
    deadline = time.monotonic() + timeout
    while not (value := probe()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.2)
    return value


@dataclass
class Balancers:
    """The two hosts, the directory of their secrets, and the address that they share."""

    state: Path
    addresses: dict[str, str]
    gateway: str
    shared: str

    def deploy(self, *arguments: str) -> str:
        """Run the play of this folder and return what it said."""
        program = str(ROOT / ".venv/bin/ansible-playbook")
        return run(
            *(program, "-i", str(HERE / "inventory.yml"), str(HERE / "site.yml"), *arguments),
            timeout=1500,
            ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"),
            ANSIBLE_NOCOLOR="1",
            EDGE_STATE=str(self.state),
            EDGE_ADDRESS=self.shared,
        )


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancers]:
    entries = " ".join(f"{name}:{suite}" for name, suite in HOSTS.items())
    run("scripts/stack.sh", "create", "--label", LABEL, "--hosts", entries, timeout=300)
    form = '{{(index .NetworkSettings.Networks "' + NETWORK + '").IPAddress}}'
    addresses = {name: run("docker", "inspect", "--format", form, name).strip() for name in HOSTS}
    config = json.loads(run("docker", "network", "inspect", NETWORK))[0]["IPAM"]["Config"][0]
    prefix, mask = config["Gateway"].rsplit(".", 1)[0], config["Subnet"].partition("/")[2]
    yield Balancers(tmp_path_factory.mktemp("edge"), addresses, config["Gateway"], f"{prefix}.200/{mask}")
    run("scripts/stack.sh", "destroy", "--label", LABEL, timeout=120)


def _build() -> Path:
    """Build Pebble and its DNS server from the Go module proxy, checked against go.sum; kept for the next time."""
    programs = ROOT / ".local/tools/pebble"
    run("go", "-C", str(HERE / "pebble"), "install", "-mod=readonly", "tool", timeout=900, GOBIN=str(programs))
    return programs


@pytest.fixture(scope="session")
def pebble(hosts: Balancers) -> Iterator[subprocess.Popen[bytes]]:
    """An ACME server that finds every name at the second balancer, whichever asks for a certificate."""
    programs = _build()
    hosts.deploy("--limit", "localhost")
    pki = hosts.state / "pki"
    config = {
        "listenAddress": f"{hosts.gateway}:14000",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": str(pki / "pebble.test.crt"),
        "privateKey": str(pki / "pebble.test.key"),
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    file = hosts.state / "pebble.json"
    file.write_text(json.dumps({"pebble": config}))
    with (hosts.state / "pebble.log").open("wb") as log:
        names = subprocess.Popen(
            [
                *(
                    str(programs / "pebble-challtestsrv"),
                    "-defaultIPv6",
                    "",
                    "-defaultIPv4",
                    hosts.addresses["balancer-2"],
                ),
                *("-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-dnsserver", "127.0.0.1:18053"),
                *("-management", "127.0.0.1:18055"),
            ],
            stdout=log,
            stderr=log,
        )
        server = subprocess.Popen(
            [str(programs / "pebble"), "-config", str(file), "-dnsserver", "127.0.0.1:18053"],
            env=os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
            stdout=log,
            stderr=log,
        )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((hosts.gateway, 14000)) == 0

    wait_until(listens, timeout=30, what=f"Pebble listens; {hosts.state / 'pebble.log'} says why not")
    for name in HOSTS:
        on(name, f"grep -q pebble.test /etc/hosts || echo '{hosts.gateway} pebble.test' >> /etc/hosts")
    yield server
    for process in (server, names):
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def balancers(hosts: Balancers, pebble: subprocess.Popen[bytes]) -> Balancers:
    """Both balancers, deployed, with certificates that Pebble signed."""
    assert pebble.poll() is None
    hosts.deploy("-e", "nginx_certificate_source=acme")
    return hosts
