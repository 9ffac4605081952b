"""Two balancers on test hosts, the address that they share, and Pebble, a real ACME server, on the controller."""

import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import environment
from tests.e2e.stack import wait_until

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
LABEL, NETWORK = "test-edge", "vuls-live-test-edge"
HOSTS = {"edge-lb-1": "bookworm", "edge-lb-2": "trixie"}
BACKEND = """[Service]
ExecStart=/usr/bin/python3 -I /usr/local/lib/edge-backend
[Install]
WantedBy=multi-user.target
"""
NAMES_PORT = 18055
# Port of an ACME server, and the seconds that its certificates hold: one like those on the Internet, and one whose end
# can be waited for.
USUAL, SHORT = (14000, 90 * 86400), (14001, 120)


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker that this suite has of its own."""
    config.addinivalue_line("markers", "long: what make test leaves to make test-all")


def run(*argv: str, timeout: float = 120, stdin: str = "", fails: bool = False, **further: str) -> str:
    """Run a program and return what it printed; raises with all of it when it fails and should not, or the reverse."""
    done = subprocess.run(
        argv, cwd=ROOT, env=environment.of_the_checkout(**further), input=stdin, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip
    said = f"{argv} ended with {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    assert (done.returncode != 0) is fails, said
    return done.stdout


def on(host: str, script: str, timeout: float = 120, *, fails: bool = False) -> str:
    """Run a shell script on a test host."""
    return run("docker", "exec", host, "sh", "-c", script, timeout=timeout, fails=fails)


@dataclass
class Pebble:
    """One ACME server: its port, its process and what it wrote."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def issued(self) -> int:
        """Return how many certificates it signed."""
        return self.log.read_text().count("Issued certificate serial")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


@dataclass
class Balancers:
    """The two hosts, the directory of their secrets, and the address that they share."""

    state: Path
    gateway: str
    shared: str
    servers: dict[int, Pebble] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The shared address without its mask."""
        return self.shared.partition("/")[0]

    def deploy(self, *arguments: str, fails: bool = False) -> str:
        """Run the play of this folder and return what it said."""
        return run(
            *(str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(HERE / "inventory.yml"), str(HERE / "site.yml")),
            *arguments,
            timeout=1500,
            fails=fails,
            EDGE_STATE=str(self.state),
            EDGE_ADDRESS=self.shared,
        )

    def acme(self, *arguments: str, fails: bool = False, **variables: object) -> str:
        """Deploy with certificates from the ACME server."""
        given = {"nginx_certificate_source": "acme", **variables}
        return self.deploy("-e", json.dumps(given), *arguments, fails=fails)

    def start(self, port: int, seconds: int) -> Pebble:
        """Start an ACME server on the controller whose certificates hold for some seconds."""
        pki, file, log = self.state / "pki", self.state / f"pebble-{port}.json", self.state / f"pebble-{port}.log"
        config = {
            "listenAddress": f"{self.gateway}:{port}",
            "managementListenAddress": f"127.0.0.1:{port + 1000}",
            "certificate": str(pki / "pebble.test.crt"),
            "privateKey": str(pki / "pebble.test.key"),
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "profiles": {"default": {"description": "the only one", "validityPeriod": seconds}},
        }
        file.write_text(json.dumps({"pebble": config}))
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(programs() / "pebble"), "-config", str(file), "-dnsserver", "127.0.0.1:18053"],
                # It waits some seconds at random before it asks, and refuses some requests, to see what clients do.
                env=os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"}, stdout=output, stderr=output,
            )  # fmt: skip
        wait_for(self.gateway, port, log)
        self.servers[port] = Pebble(port, process, log)
        return self.servers[port]

    def names_lead_to(self, address: str) -> None:
        """Have the ACME servers find every name at an address."""
        body = json.dumps({"ip": address}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{NAMES_PORT}/set-default-ipv4", data=body, timeout=10) as answer:
            assert answer.status == 200


def wait_for(address: str, port: int, log: Path) -> None:
    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((address, port)) == 0

    wait_until(listens, timeout=60, what=f"{address}:{port} listens; {log} says why not: {log.read_text()[-500:]}")


def programs() -> Path:
    """Return where Pebble and its DNS server lie, built if need be."""
    return Path(run("scripts/pebble.sh", timeout=900).strip())


def changed(said: str) -> list[str]:
    """Return what a deployment changed, by its names of tasks, in the order of the output."""
    found, task = [], ""
    for line in said.splitlines():
        if named := re.match(r"(?:TASK|RUNNING HANDLER) \[(.*)\]", line):
            task = named[1]
        elif line.startswith("changed: "):
            found.append(f"{task}: {line}")
    return found


def name_the_server(balancers: Balancers, host: str) -> None:
    """A container forgets its further names when it starts anew."""
    on(host, f"grep -q pebble.test /etc/hosts || echo '{balancers.gateway} pebble.test' >> /etc/hosts")


@pytest.fixture(scope="session")
def balancers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancers]:
    """Two bare hosts with something behind them that answers, and a DNS server that knows the shared address."""
    entries = " ".join(f"{name}:{suite}" for name, suite in HOSTS.items())
    run("scripts/stack.sh", "create", "--label", LABEL, "--hosts", entries, timeout=300)
    config = json.loads(run("docker", "network", "inspect", NETWORK))[0]["IPAM"]["Config"][0]
    gateway = config["Gateway"]
    made = Balancers(
        tmp_path_factory.mktemp("edge"),
        gateway,
        f"{gateway.rpartition('.')[0]}.250/{config['Subnet'].partition('/')[2]}",
    )
    program = (HERE / "backend.py").read_text()
    for name in HOSTS:
        run("docker", "exec", "-i", name, "sh", "-c", "cat > /usr/local/lib/edge-backend", stdin=program)
        run("docker", "exec", "-i", name, "sh", "-c", "cat > /etc/systemd/system/edge-backend.service", stdin=BACKEND)
        on(name, "systemctl daemon-reload && systemctl enable --now edge-backend")
        name_the_server(made, name)
    log = made.state / "names.log"
    options = [("defaultIPv6", ""), ("defaultIPv4", made.address), ("http01", ""), ("https01", ""), ("tlsalpn01", ""),
               ("doh", ""), ("dnsserver", "127.0.0.1:18053"), ("management", f"127.0.0.1:{NAMES_PORT}")]  # fmt: skip
    with log.open("wb") as output:
        names = subprocess.Popen(
            [str(programs() / "pebble-challtestsrv"), *(part for key, value in options for part in (f"-{key}", value))],
            stdout=output, stderr=output,
        )  # fmt: skip
    wait_for("127.0.0.1", NAMES_PORT, log)
    yield made
    for process in (names, *(server.process for server in made.servers.values())):
        process.kill()
        process.wait()
    run("scripts/stack.sh", "destroy", "--label", LABEL, timeout=120)
