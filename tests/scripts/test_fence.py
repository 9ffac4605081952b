"""A fence keeps a PostgreSQL from taking writes, and goes without a trace. Needs the engine and the base images."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .ansible import ROOT, ansible, said
from .host import Host

pytestmark = pytest.mark.long

MACHINE = Host("test-fence", "vuls-fence-1")
HOST, on, must = MACHINE.name, MACHINE.on, MACHINE.must
UNIT, DATA, FENCE = "postgresql@17-main", "/var/lib/postgresql/17/main", "/var/lib/postgresql/fenced"
GIVEN = {
    "ansible_connection": "community.docker.docker",
    "ansible_python_interpreter": "/usr/bin/python3",
    "postgresql_fenced_host": HOST,
    "vuls_no_log": True,
}


def runs() -> bool:
    return on("systemctl", "is-active", UNIT).stdout.strip() == "active"


def takes_writes() -> bool:
    return on("runuser", "-u", "postgres", "--", "psql", "-XAtqc", "CREATE TEMP TABLE probe ()").returncode == 0


def there(path: str) -> bool:
    return on("test", "-e", path).returncode == 0


@pytest.fixture(scope="module")
def host() -> Iterator[None]:
    """A host with a cluster that Debian's package made."""
    MACHINE.create("trixie")
    try:
        must("apt-get", "update")
        must("apt-get", "install", "--yes", "--no-install-recommends", "postgresql-17")
        yield
    finally:
        MACHINE.destroy()


@pytest.fixture
def primary(host: None) -> None:  # noqa: ARG001
    """The cluster, as a primary that runs."""
    must("systemctl", "stop", UNIT)
    must("rm", "-f", FENCE, f"{DATA}/standby.signal")
    must("systemctl", "start", UNIT)
    assert takes_writes()


def entries(place: Path, *names: str) -> None:
    """Look at the host, then run these entry points of the role, in one run."""
    facts = {"setup": {"gather_subset": ["!all", "!min", "distribution"]}}
    roles = [{"include_role": {"name": "postgresql", "tasks_from": name}} for name in ("observe", *names)]
    (place / "play.yml").write_text(json.dumps([{"hosts": HOST, "gather_facts": False, "tasks": [facts, *roles]}]))
    result = ansible(
        "ansible-playbook",
        *("-i", f"{HOST},", "-e", json.dumps(GIVEN), str(place / "play.yml")),
        ANSIBLE_ROLES_PATH=str(ROOT / "roles"),
        HOME=os.environ.get("HOME", "/root"),
    )
    assert result.returncode == 0, said(result)


@pytest.mark.usefixtures("primary")
@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_a_fenced_primary_takes_no_writes_whoever_starts_it(tmp_path: Path, down: bool) -> None:
    if down:
        must("systemctl", "stop", UNIT)
    entries(tmp_path, "fence")
    assert not runs()
    assert there(FENCE)
    must("systemctl", "start", UNIT)
    assert runs()
    assert not takes_writes()


@pytest.mark.usefixtures("primary")
@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_without_its_fence_it_is_what_it_was(tmp_path: Path, down: bool) -> None:
    if down:
        must("systemctl", "stop", UNIT)
    entries(tmp_path, "fence", "unfence")
    assert not there(FENCE)
    assert runs() is not down
    must("systemctl", "start", UNIT)
    assert takes_writes()


@pytest.mark.usefixtures("primary")
def test_a_replica_that_was_down_is_no_primary_without_its_fence(tmp_path: Path) -> None:
    must("systemctl", "stop", UNIT)
    must("touch", f"{DATA}/standby.signal")
    entries(tmp_path, "fence", "unfence")
    assert not there(FENCE)
    must("systemctl", "start", UNIT)
    assert not takes_writes()


@pytest.mark.usefixtures("host")
def test_a_host_without_a_cluster_has_nothing_to_fence(tmp_path: Path) -> None:
    must("systemctl", "stop", UNIT)
    must("mv", DATA, f"{DATA}.away")
    entries(tmp_path, "fence", "unfence")
    assert not there(DATA)
    assert not there(FENCE)
    must("mv", f"{DATA}.away", DATA)
