"""A rollout looks at the hosts before anything else; what is half done, and a rollback, goes on whatever is found."""

import json
from pathlib import Path

import pytest

from .ansible import ansible, copied, said

NO_DRY_RUN = "A rollout has no dry run"  # what comes next, and ends a run in check mode


@pytest.mark.parametrize(
    ("playbook", "interrupted", "limit", "full", "words", "goes_on"),
    [
        ("rollout", "", "all", "web", "Refuse to begin", False),
        ("rollout", "{}", "all", "web", "Accepted: ", True),
        # A drain is no rollout, and none is carried on after it.
        ("rollout", '{"verb": "drain"}', "all", "web", "Refuse to begin", False),
        # A rollout never touches it.
        ("rollout", "", "all", "redis", "Accepted: ", True),
        # The lock lies on the first web host, which this leaves out.
        pytest.param("rollout", "{}", "vuls-web-2,loadbalancers", "web", "Accepted: ", True, marks=pytest.mark.long),
        pytest.param("rollback", "", "all", "web", "", True, marks=pytest.mark.long),
    ],
)
def test_a_full_disk_stops_a_rollout_that_begins_and_nothing_else(
    tmp_path: Path, playbook: str, interrupted: str, limit: str, full: str, words: str, goes_on: bool
) -> None:
    inventory = copied("local", tmp_path)
    lock = tmp_path / "lock"
    if interrupted:
        lock.write_text(interrupted)
    settings = {
        "preflight_disk_mib": {full: 900_000_000},
        "preflight_rollout_lock": str(lock),
        # This machine does not know the hosts' names.
        "preflight_accept": ["names"],
        # An inventory that is not in order is for site.yml to refuse.
        "web_no_such_variable": 1,
    }
    (inventory / "group_vars/all/zz-test.yml").write_text(json.dumps(settings))
    line = ["--check", "-i", str(inventory), "-e", "ansible_connection=local", "--limit", limit]
    done = ansible("ansible-playbook", *line, f"playbooks/{playbook}.yml", VULS_STATE_DIR=str(tmp_path / "state"))
    assert done.returncode != 0
    assert words in said(done)
    assert ("MiB free in" in said(done)) is (playbook == "rollout")
    assert "web_no_such_variable" not in said(done)
    assert (NO_DRY_RUN in said(done)) is goes_on
