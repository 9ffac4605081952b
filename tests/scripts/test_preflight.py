"""`make up` says what stands in its way before it changes anything."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREFLIGHT = ROOT / "scripts/preflight.sh"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def preflight(
    *prefix: str, script: Path = PREFLIGHT, arguments: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    said = result.stdout + result.stderr
    assert result.returncode == 1, said
    assert "nothing was changed" in said
    for word in words:
        assert word in said


def engine_with(folder: Path, containers: str) -> str:
    """Return a PATH on which the engine is a script that lists these containers: the check only reads its list."""
    engine = folder / "docker"
    engine.write_text(f"#!/bin/sh\n[ \"$2\" != --all ] || printf '{containers}'\n")
    engine.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_a_taken_port_is_named(taken_port: int) -> None:
    refused(preflight(VULS_HTTPS_PORT=str(taken_port)), f"127.0.0.1:{taken_port} is taken", "VULS_HTTPS_PORT")


@pytest.mark.parametrize("port", ["0", "65536", "https", "-1", "08443", " 8443", "443x", "99999999999999999999"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    refused(preflight(VULS_HTTPS_PORT=port), f"VULS_HTTPS_PORT is '{port}'", "a number from 1 to 65535")


def test_an_empty_port_is_the_usual_one() -> None:
    result = preflight(VULS_HTTPS_PORT="")
    assert "VULS_HTTPS_PORT is" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("owner", "label", "words"),
    [
        ("local", "molecule", ("container vuls-lb belongs to the local stack", "make down")),
        ("molecule", "local", ("container vuls-lb belongs to stack 'molecule'", "stack.sh destroy --label molecule")),
        ("", "local", ("container vuls-lb is not ours", "remove or rename it")),
    ],
    ids=["tests over the local stack", "the local stack over tests", "a stranger"],
)
def test_another_stack_is_not_touched(tmp_path: Path, owner: str, label: str, words: tuple[str, ...]) -> None:
    path = engine_with(tmp_path, f"vuls-lb\\t{owner}\\n")
    result = preflight(arguments=("--label", label), PATH=path)
    refused(result, *words)
    mine = preflight(arguments=("--label", owner or "local"), PATH=path)
    assert ("container vuls-lb" in mine.stderr) == (owner == "")


def test_a_full_disk_is_named() -> None:
    small = 'mount -t tmpfs -o size=16m none /mnt && VULS_LIVE_CACHE=/mnt exec "$0"'
    refused(preflight("unshare", "--mount", "sh", "-c", small), "/mnt has 0 GiB free", "make room")


@pytest.fixture
def readable_copy() -> Iterator[Path]:
    """The scripts where everybody can read them: a checkout may be its owner's alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copytree(ROOT / "scripts", Path(folder) / "scripts")
        yield Path(folder) / "scripts/preflight.sh"


def test_whoever_is_not_root_is_told(readable_copy: Path) -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/tmp"]
    refused(preflight(*nobody, script=readable_copy), "not root")


def test_all_findings_come_at_once(tmp_path: Path, taken_port: int) -> None:
    small = 'mount -t tmpfs -o size=16m none /mnt && VULS_LIVE_CACHE=/mnt exec "$0"'
    port, path = str(taken_port), engine_with(tmp_path, "")
    result = preflight("unshare", "--mount", "sh", "-c", small, VULS_HTTPS_PORT=port, PATH=path)
    refused(result, "2 finding(s)", "is taken", "GiB free")


def test_nothing_is_changed(taken_port: int) -> None:
    before = {path: path.stat().st_mtime_ns for path in [ROOT, ROOT / ".local"] if path.exists()}
    made = subprocess.run(
        ["make", "up"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, "VULS_HTTPS_PORT": str(taken_port)},
        timeout=60,
    )
    assert made.returncode != 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
