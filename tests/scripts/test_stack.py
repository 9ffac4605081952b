"""Hosts are made once, belong to one stack, and leave nothing behind. Needs the engine and the base images."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

STACK = Path(__file__).resolve().parents[2] / "scripts/stack.sh"
LABEL, OTHER = "test-scripts", "test-scripts-other"
HOST = "vuls-scripts-1"
VOLUMES = '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}'


def stack(verb: str, label: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(STACK), verb, "--label", label, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def create(label: str) -> subprocess.CompletedProcess[str]:
    return stack("create", label, "--hosts", f"{HOST}:trixie:engine")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=True).stdout.strip()


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """The id of a host that runs, with a volume for an engine of its own. The last test removes it."""
    made = create(LABEL)
    assert made.returncode == 0, made.stderr
    yield docker("inspect", "--format", "{{.Id}}", HOST)
    assert stack("destroy", LABEL).returncode == 0


def test_a_host_that_is_as_it_should_be_is_left_alone(host: str) -> None:
    again = create(LABEL)
    assert again.returncode == 0, again.stderr
    assert docker("inspect", "--format", "{{.Id}}", HOST) == host


def test_another_stack_neither_takes_a_host_over_nor_removes_it(host: str) -> None:
    refused = create(OTHER)
    assert refused.returncode == 1
    assert f"names are taken: container {HOST} (stack '{LABEL}')" in refused.stderr
    assert stack("destroy", OTHER).returncode == 0
    assert docker("inspect", "--format", "{{.Id}} {{.State.Status}}", HOST) == f"{host} running"


def test_what_is_destroyed_leaves_no_container_network_or_volume(host: str) -> None:
    volumes = docker("inspect", "--format", VOLUMES, host).split()
    assert volumes, "the host has an engine's volume"
    assert stack("destroy", LABEL).returncode == 0
    mine = ("--quiet", "--filter", f"label=vuls-live.stack={LABEL}")
    assert docker("ps", "--all", *mine) == ""
    assert docker("network", "ls", *mine) == ""
    assert not set(volumes) & set(docker("volume", "ls", "--quiet").split())
