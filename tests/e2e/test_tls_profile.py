"""sslyze finds nothing on any TLS port against the profile that is checked in (tests/tls)."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import stack

SSLYZE = stack.LOCAL / "venvs/sslyze/bin/python"
PROFILE = stack.ROOT / "tests/tls/profile.json"
# Host, port, who may call (the firewall lets nobody else through), and what is said before TLS begins.
PORTS = [
    ("vuls-lb", 443, "vuls-worker", None),
    ("vuls-web-1", 8441, "vuls-lb", None),
    ("vuls-web-1", 8442, "vuls-lb", None),
    ("vuls-web-2", 8441, "vuls-lb", None),
    ("vuls-web-2", 8442, "vuls-lb", None),
    ("vuls-redis", 6379, "vuls-worker", None),
    ("vuls-db", 5432, "vuls-worker", "postgres"),
]


Scan = subprocess.CompletedProcess[str]


def scan(host: str, port: int, origin: str, starttls: str | None) -> Scan:
    """Run sslyze of this machine in the network of a host of the stack."""
    process = stack.must(stack.run("docker", "inspect", "--format", "{{.State.Pid}}", origin)).strip()
    # Two connections to a port at once, not five: a busy machine may not answer so many within sslyze's five seconds.
    options = ["--slow_connection", "--custom_tls_config", str(PROFILE), "--certinfo_ca_file", str(stack.CA)]
    if starttls:
        options += ["--starttls", starttls]
    if origin == "vuls-lb":  # web hosts ask for the balancer's certificate
        options += ["--cert", str(stack.LOCAL / "pki/vuls-lb.crt"), "--key", str(stack.LOCAL / "pki/vuls-lb.key")]
    target = f"{host}:{port}{{{stack.address(host)}}}"
    line = ["nsenter", "--target", process, "--net", str(SSLYZE), "-m", "sslyze", *options, target]
    return stack.run(*line, timeout=400)


@pytest.fixture(scope="module")
def scans() -> dict[tuple[str, int], Scan]:
    """All at once: most of a scan is waiting."""
    with ThreadPoolExecutor(len(PORTS)) as pool:
        running = {entry[:2]: pool.submit(scan, *entry) for entry in PORTS}
        return {port: future.result() for port, future in running.items()}


def test_every_tls_port_is_scanned() -> None:
    """A port that the table of flows gains is missing here until somebody adds it."""
    scanned = {(host, port) for host, port, _, _ in PORTS}
    for host in {host for host, _, _, _ in PORTS}:
        for line in stack.shell(host, "ss -Hltn").splitlines():
            address, _, port = line.split()[3].rpartition(":")
            assert address.startswith(("127.", "[::1]")) or (host, int(port)) in scanned, line


@pytest.mark.parametrize("port", [entry[:2] for entry in PORTS], ids=lambda port: f"{port[0]}:{port[1]}")
def test_a_port_holds_to_the_profile(scans: dict[tuple[str, int], Scan], port: tuple[str, int]) -> None:
    said = scans[port]
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-2000:]
    assert "OK - Compliant" in said.stdout, said.stdout[-3000:]
