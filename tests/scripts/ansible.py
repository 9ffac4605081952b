"""Runs Ansible's programs with the settings of the checkout and nobody else's."""

import shutil
import subprocess
from pathlib import Path

from tests import environment

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 1200  # seconds of one run: a deployment beside other tests, on a machine that is busy


def ansible(program: str, *arguments: str, **further: str) -> subprocess.CompletedProcess[str]:
    """Run one of them; its exit status is the caller's to judge."""
    own = environment.of_the_checkout("VULS_", **further)
    line = [str(ROOT / ".venv/bin" / program), *arguments]
    return subprocess.run(line, cwd=ROOT, env=own, capture_output=True, text=True, timeout=LONGEST, check=False)


def said(result: subprocess.CompletedProcess[str]) -> str:
    """Return all that was printed, with single spaces."""
    return " ".join((result.stdout + result.stderr).split())


def copied(inventory: str, place: Path) -> Path:
    """Copy an inventory as its page says, to where it is outside the checkout; returns the copy."""
    copy = place / "inventory"
    shutil.copytree(ROOT / "inventories" / inventory, copy, symlinks=True)
    link = copy / "group_vars/all/00-shared"
    link.unlink()
    link.symlink_to(ROOT / "inventories/shared")
    return copy
