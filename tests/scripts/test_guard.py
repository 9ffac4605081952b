"""Which of two primaries the guard of the database closes off, by their timelines."""

import os
import subprocess
from pathlib import Path

import jinja2
import pytest

from .ansible import ROOT

TEMPLATE = ROOT / "roles/postgresql/templates/guard.sh.j2"
CONTROL = "Database system identifier:           7000000000000000001\nLatest checkpoint's TimeLineID:       {}\n"


@pytest.mark.parametrize(
    ("checkpoint", "histories", "there", "may_start"),
    [
        (4, [2, 3, 4], "7000000000000000001 5", False),
        (4, [2, 3, 4], "7000000000000000001 4", True),
        # Just promoted, and without a checkpoint since: what the control file says is of before.
        (4, [2, 3, 4, 6], "7000000000000000001 5", True),
        (4, [2, 3, 4, 10], "7000000000000000001 11", False),
        (1, [], "7000000000000000001 2", False),
        (1, [], "", True),  # nobody else takes writes
        (1, [], "7000000000000000002 2", True),  # another cluster
    ],
)
def test_only_the_one_on_the_older_timeline_is_closed_off(
    tmp_path: Path, checkpoint: int, histories: list[int], there: str, may_start: bool
) -> None:
    data, fence = tmp_path / "data", tmp_path / "fenced"
    (data / "pg_wal").mkdir(parents=True)
    (data / "PG_VERSION").touch()
    for number in histories:
        (data / f"pg_wal/{number:08X}.history").touch()
    names = {"data_dir": data, "fence": fence, "version": "17", "peers": "host=other"}
    rendered = jinja2.Template(TEMPLATE.read_text()).render({f"__postgresql_{name}": v for name, v in names.items()})
    tools = tmp_path / "bin"
    tools.mkdir()
    # Only what the two say: who is on which timeline.
    (tools / "pg_controldata").write_text(f"#!/bin/sh\ncat <<'END'\n{CONTROL.format(checkpoint)}END\n")
    (tools / "psql").write_text(f"#!/bin/sh\necho '{there}'\n")
    (tmp_path / "guard").write_text(rendered.replace("/usr/lib/postgresql/17/bin", str(tools)))
    for file in (tools / "pg_controldata", tools / "psql", tmp_path / "guard"):
        file.chmod(0o755)
    path = {"PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run([tmp_path / "guard", "start"], env=path, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is may_start, done.stderr
    assert fence.exists() is (data / "standby.signal").exists() is not may_start
