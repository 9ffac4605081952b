"""Builds the benchmark's programs into `.local/perf`, and only again when their sources changed."""

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / ".local/perf"
FANOUT = Path(__file__).parent / "fanout"
PEERS = FANOUT / "peers"


class BuildError(Exception):
    """A program could not be built; the message says why and what to do."""


def c_program(source: Path) -> Path:
    """Return the program made from one C file."""
    program = OUTPUT / source.stem
    if _changed(program, [source]):
        _run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-o", str(program), str(source)], "gcc")
        _remember(program, [source])
    return program


def go_program(name: str) -> Path:
    """Return a Go peer, its modules checked against go.sum."""
    program, sources = OUTPUT / name, [PEERS / "go.mod", PEERS / "go.sum", PEERS / name / "main.go"]
    if _changed(program, sources):
        _run(["go", "build", "-mod=readonly", "-trimpath", "-o", str(program), f"./{name}"], "golang", PEERS)
        _remember(program, sources)
    return program


def node_server() -> Path:
    """Return node's server file, with the locked packages beside it."""
    folder, sources = OUTPUT / "ws", sorted((PEERS / "ws").iterdir())
    server = folder / "server.mjs"
    if _changed(server, sources):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(PEERS / "ws", folder)
        npm = str(ROOT / ".venv/bin/npm")
        _run(["env", f"PATH={ROOT / '.venv/bin'}:/usr/bin:/bin", npm, "ci", "--ignore-scripts"], "npm", folder)
        _remember(server, sources)
    return server


def _stamp(sources: Sequence[Path]) -> str:
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()


def _stamp_file(made: Path) -> Path:
    return OUTPUT / f"{made.parent.name}-{made.name}.stamp"


def _changed(made: Path, sources: Sequence[Path]) -> bool:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    stamp = _stamp_file(made)
    return not (made.exists() and stamp.exists() and stamp.read_text() == _stamp(sources))


def _remember(made: Path, sources: Sequence[Path]) -> None:
    _stamp_file(made).write_text(_stamp(sources))


def _run(command: list[str], package: str, folder: Path = ROOT) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(f"there is no {command[0]}: install {package}") from error
    if done.returncode:
        raise BuildError(f"{' '.join(command[:2])} failed in {folder}:\n{done.stdout}{done.stderr}")
