"""The built image as the executor runs it: a real scan over SSH of a real host, then the report. Needs an engine."""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from demo_report.bolt import read

ROOT = Path(__file__).parents[3]
DATABASE = ROOT / "tests/data/vuls/demo-db/base.db"
IMAGE = "vuls-live/vuls:local"
LABEL = "test-vuls"
UID = 10001
HOSTS = {"vuls-scan-12": ("bookworm", "12"), "vuls-scan-13": ("trixie", "13")}

CONFIG = """version = "v2"
[vuls2]
Path = "/db/vuls.db"
SkipUpdate = true
[default]
scanMode = ["fast"]
scanModules = ["ospkg"]
"""
SERVER = """[servers.{name}]
host = "{name}"
port = "22"
user = "vuls"
sshConfigPath = "/etc/vuls/ssh_config"
keyPath = "/etc/vuls/id"
"""

pytestmark = pytest.mark.engine


@dataclass(frozen=True)
class Hosts:
    """Two hosts that may be scanned, and what it takes to log in there."""

    network: str
    key: Path
    known_hosts: str


def call(*command: str, status: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Throw-away hosts from the base images. Added are sshd, the user for the scan, and curl, of which the demo data
    knows a finding that the base image lacks."""
    stack = str(ROOT / "scripts/stack.sh")
    names = " ".join(f"{name}:{suite}" for name, (suite, _) in HOSTS.items())
    call(stack, "create", "--label", LABEL, "--hosts", names)
    try:
        key = tmp_path_factory.mktemp("ssh") / "id"
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        known_hosts = "".join(open_for_scan(name, key.with_suffix(".pub").read_text()) for name in HOSTS)
        template = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}"
        network = call("docker", "inspect", "--format", template, next(iter(HOSTS))).strip()
        yield Hosts(network, key, known_hosts)
    finally:
        call(stack, "destroy", "--label", LABEL)


def open_for_scan(host: str, public_key: str) -> str:
    """Install sshd, let the scan in, and return the host's line for known_hosts."""
    script = f"""set -eu
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -qq --no-install-recommends openssh-server curl >/dev/null
        useradd --create-home --shell /bin/sh vuls
        install -d -m 0700 -o vuls -g vuls ~vuls/.ssh
        echo '{public_key.strip()}' >~vuls/.ssh/authorized_keys
        systemctl start ssh
        cat /etc/ssh/ssh_host_ed25519_key.pub"""
    return f"{host} {call('docker', 'exec', host, 'sh', '-c', script)}"


@dataclass(frozen=True)
class Job:
    """A job's directory as the executor lays it out, and the two runs in it."""

    directory: Path
    network: str

    def vuls(self, *arguments: str, network: str, status: int = 0) -> str:
        mounts = {
            self.directory / "passwd": "/etc/passwd:ro",
            self.directory / "etc": "/etc/vuls:ro",
            self.directory / "results": "/job",
            self.directory / "vuls.db": "/db/vuls.db:ro",
        }
        return call(
            "docker", "run", "--rm", "--label", f"vuls-live.stack={LABEL}", "--network", network,
            "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", f"{UID}:{UID}",
            "--tmpfs", "/tmp", *(f"--volume={source}:{target}" for source, target in mounts.items()),
            "--entrypoint", "vuls", IMAGE, *arguments,
            status=status,
        )  # fmt: skip

    def scan(self, server: str, status: int = 0) -> None:
        self.vuls(
            "scan", "-config=/etc/vuls/config.toml", "-results-dir=/job", "-log-dir=/tmp", server,
            network=self.network, status=status,
        )  # fmt: skip

    def report(self, status: int = 0) -> None:
        self.vuls(
            "report", "-config=/etc/vuls/config.toml", "-results-dir=/job", "-log-dir=/tmp", "-format-json",
            network="none", status=status,
        )  # fmt: skip

    def result(self) -> dict[str, Any]:
        (path,) = self.directory.glob("results/*/*.json")
        content: dict[str, Any] = json.loads(path.read_text())
        return content


@pytest.fixture
def job(hosts: Hosts, tmp_path: Path) -> Job:
    etc, results = tmp_path / "etc", tmp_path / "results"
    etc.mkdir()
    results.mkdir(mode=0o700)
    (etc / "config.toml").write_text(CONFIG + "".join(SERVER.format(name=name) for name in HOSTS))
    ssh_config = (ROOT / "tests/data/vuls/recordings/ssh_config").read_text()
    (etc / "ssh_config").write_text(ssh_config.replace("/etc/vuls/home/.ssh/known_hosts", "/etc/vuls/known_hosts"))
    (etc / "known_hosts").write_text(hosts.known_hosts)
    shutil.copy(hosts.key, etc / "id")
    shutil.copy(DATABASE, tmp_path / "vuls.db")
    (tmp_path / "passwd").write_text(f"vuls:x:{UID}:{UID}::/tmp:/usr/sbin/nologin\n")
    for path in (etc / "id", results):
        os.chown(path, UID, UID)
    (tmp_path / "vuls.db").chmod(0o644)
    return Job(tmp_path, hosts.network)


@pytest.mark.parametrize(("host", "release"), [(name, release) for name, (_, release) in HOSTS.items()])
def test_a_host_is_scanned_over_ssh_and_then_assessed(job: Job, host: str, release: str) -> None:
    job.scan(host)
    scanned = job.result()
    assert (scanned["family"], scanned["release"].split(".")[0]) == ("debian", release)
    assert len(scanned["packages"]) > 80
    assert scanned["scannedCves"] == {}

    job.report()
    assessed = job.result()
    assert assessed["reportedVersion"] == "demo"
    assert assessed["packages"] == scanned["packages"]
    assert set(assessed["scannedCves"]) == affected_by_hand(assessed, f"debian:{release}")
    assert severities(assessed) == {"CRITICAL": 2, "HIGH": 2, "MEDIUM": 3, "LOW": 1, "UNKNOWN": 1}


def affected_by_hand(result: dict[str, Any], ecosystem: str) -> set[str]:
    """The CVEs whose source package is there, but for the one that is fixed everywhere."""
    tree: Any = read(DATABASE)
    index = {name: json.loads(value) for name, value in tree[ecosystem]["index"].items()}
    return {cve for name, cves in index.items() if name in result["SrcPackages"] for cve in cves} - {"CVE-2099-0006"}


def severities(result: dict[str, Any]) -> Counter[str]:
    return Counter(
        finding["cveContents"]["nvd"][0]["cvss3Severity"] or "UNKNOWN" for finding in result["scannedCves"].values()
    )


def test_an_unknown_host_key_ends_the_scan(job: Job) -> None:
    (job.directory / "etc/known_hosts").write_text("")

    job.scan("vuls-scan-12", status=1)
    assert "known_hosts" in job.result()["errors"][0]
    job.report(status=1)
    assert job.result()["scannedCves"] in (None, {})


def test_the_program_tells_its_version() -> None:
    assert "v0.40.1" in call("docker", "run", "--rm", IMAGE, "-v")


def test_the_image_is_small() -> None:
    assert int(call("docker", "image", "inspect", "--format", "{{.Size}}", IMAGE)) < 150_000_000
