"""What roles refuse before they do anything, and what they do not."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def preflight(tmp_path: Path, role: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run the preflight of a role with variables, in check mode and on this machine."""
    play = tmp_path / "play.yml"
    tasks = [{"import_role": {"name": role, "tasks_from": "preflight"}}]
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    environment = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    line = [str(ROOT / ".venv/bin/ansible-playbook"), "--check", "-i", "localhost,", "-c", "local"]
    given = ["-e", json.dumps({"vuls_no_log": True, **variables}), str(play)]
    return subprocess.run(
        [*line, *given], env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"zone_limits": {"dmz": 2}, "log_level": "info", "group_limit": 2, "demo": True}, None),
        ({"log_level": "two\nlines"}, "a single quote or a line break"),
        ({"zone_limits": {"it's": 2}}, "a single quote or a line break"),
    ],
    ids=["with a mapping", "line break", "quote in a mapping"],
)
def test_settings_that_do_not_fit_in_quotes_are_refused(
    tmp_path: Path, settings: dict[str, object], refusal: str | None
) -> None:
    done = preflight(tmp_path, "daemon", daemon_unit="vuls-test", daemon_secrets={}, daemon_settings=settings)
    assert (done.returncode == 0) is (refusal is None), done.stdout + done.stderr
    assert refusal is None or refusal in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "is_fine"),
    [
        ("/var/lib/vuls-executor/db/vuls.db", True),
        ("/var/lib/vuls.db", False),
        ("/var/lib/vuls-executor/db/../vuls.db", False),
        ("db/vuls.db", False),
    ],
)
def test_a_database_in_a_directory_that_others_use_is_refused(tmp_path: Path, path: str, is_fine: bool) -> None:
    done = preflight(tmp_path, "vuls", vuls_database=path)
    assert (done.returncode == 0) is is_fine, done.stdout + done.stderr
    assert is_fine or "a directory of its own" in done.stdout + done.stderr
