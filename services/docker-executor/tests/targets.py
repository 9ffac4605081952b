"""Hosts to scan: a real Debian with sshd in a container, and one that accepts connections and says nothing."""

import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.models.containers import Container

from tests.harness import wait_until

BASE = "vuls-live/base:bookworm"
INSTALL = """set -e
apt-get install --yes --quiet --no-install-recommends openssh-server
mkdir -p /run/sshd
rm -f /etc/ssh/ssh_host_*
"""
SETUP = """set -e
useradd --create-home --shell /bin/bash vuls
install -d -m 0700 -o vuls -g vuls /home/vuls/.ssh
printf '%s' "$KEY" | install -m 0600 -o vuls -g vuls /dev/stdin /home/vuls/.ssh/authorized_keys
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
exec /usr/sbin/sshd -D -e
"""
LABELS = {"vuls-live.stack": "test"}


@dataclass(frozen=True)
class SshHost:
    """A host that can be scanned."""

    container: Container
    address: str
    private_key: str
    known_hosts: str

    @property
    def target(self) -> dict[str, object]:
        """Return its entry in the targets file."""
        return {"address": self.address, "port": 22, "user": "vuls"}

    def logins(self) -> int:
        """Return how often somebody has logged in."""
        # The engine tells of lines with a delay, and in their order: once this one is there, all before it are.
        mark = secrets.token_hex(8).encode()
        said = self.container.exec_run(["sh", "-c", f"echo {mark.decode()} >/proc/1/fd/2"])
        assert said.exit_code == 0, said.output
        wait_until(lambda: mark in self.container.logs(), 30)
        return int(self.container.logs().count(b"Accepted publickey for vuls"))


def _image(client: docker.DockerClient) -> str:
    """Return an image with sshd, made once for each base image."""
    base = client.images.get(BASE)
    tag = f"vuls-live/test-sshd:{base.short_id.removeprefix('sha256:')}"
    if not client.images.list(tag):
        made = client.containers.create(BASE, ["sh", "-c", INSTALL], labels=LABELS)
        try:
            made.start()
            assert made.wait(timeout=180)["StatusCode"] == 0, made.logs().decode()
            made.commit(*tag.split(":"))
        finally:
            made.remove(force=True)
    return tag


@contextmanager
def ssh_host(client: docker.DockerClient) -> Iterator[SshHost]:
    """Run a Debian 12 with sshd, a user `vuls` and a key for it."""
    with tempfile.TemporaryDirectory() as directory:
        key = Path(directory) / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        private, public = key.read_text(), key.with_suffix(".pub").read_text()
    container = client.containers.run(
        _image(client), ["sh", "-c", SETUP], environment={"KEY": public}, labels=LABELS, detach=True
    )
    try:
        deadline = time.monotonic() + 60
        while b"Server listening" not in container.logs():
            assert time.monotonic() < deadline, container.logs().decode()
            time.sleep(0.1)
        container.reload()
        address = str(container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
        host_key = output(container, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
        known = " ".join([address, *host_key.split()[:2]]) + "\n"
        yield SshHost(container, address, private, known)
    finally:
        container.remove(force=True, v=True)


@contextmanager
def silent_host() -> Iterator[dict[str, object]]:
    """Accept connections on the loopback address and never answer: a scan of it takes many seconds."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield {"address": "127.0.0.1", "port": listener.getsockname()[1], "user": "vuls"}


def output(container: Container, *command: str) -> str:
    """Run a command in a container and return what it printed."""
    printed = container.exec_run(list(command)).output
    assert isinstance(printed, bytes)
    return printed.decode()
