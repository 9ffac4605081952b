"""Databases of tests, and the command that puts them in place."""

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from executor import database_command
from executor.database import DatabaseError
from tests.bolt import leaf, tree
from tests.harness import DEMO_DATA

BASE = (DEMO_DATA / "base.db").read_bytes()
NEXT = (DEMO_DATA / "next.db").read_bytes()


def database_of(metadata: bytes) -> bytes:
    """Return a database that says this of itself."""
    return tree(leaf(2, b"metadata", struct.pack("<QQ", 3, 0), 1), leaf(3, b"db", metadata))


def digest_of(content: bytes) -> str:
    """Return the digest as the executor writes it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def words(installed: Path, *arguments: object) -> list[str]:
    """Return the command line of vuls-database for the database at a path."""
    return [sys.executable, "-m", "executor.database_command", "--database", str(installed), *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """Return the environment that the command needs."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1]), **more}


def command(
    installed: Path, *arguments: object, more: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run vuls-database for the database at a path, with `more` in its environment."""
    env = environment(**(more or {}))
    line = words(installed, *arguments)
    return subprocess.run(line, env=env, capture_output=True, text=True, check=False, timeout=120, **options)


def call(installed: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Do the same within this process, which is sooner done."""
    line = ["--database", str(installed), *map(str, arguments)]
    try:
        return subprocess.CompletedProcess(line, 0, json.dumps(database_command.perform(line)), "")
    except DatabaseError as error:
        return subprocess.CompletedProcess(line, 1, "", f"vuls-database: {error}\n")


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what a command that went well says."""
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence of a command that did not go well."""
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("vuls-database: ")
    return done.stderr


def is_untouched(installed: Path) -> bool:
    """Whether the demo data `base` is in place and nothing of another database is left."""
    assert installed.read_bytes() == BASE
    return {entry.name for entry in installed.parent.iterdir()} <= {"vuls.db", "vuls.db.lock", "vuls.db.json"}
