"""The deployment describes the live stack exactly, also after everything else has acted on the hosts."""

import re

import pytest

from tests.runbooks import run_page

from . import stack

RECAP = re.compile(r"^(\S+)\s*: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


def unchanged(said: str) -> None:
    """Fail where a run of site.yml says that it changed a host, or left one out."""
    hosts = {name: (int(changed), int(failed) + int(gone)) for name, _, changed, gone, failed in RECAP.findall(said)}
    assert set(stack.ALL_HOSTS) <= set(hosts), hosts
    changed = {name: counts for name, counts in hosts.items() if counts != (0, 0)}
    assert not changed, (
        f"{changed}\n"
        + "\n".join(line for line in said.splitlines() if re.match(r"(TASK|changed:|--- |\+\+\+ |[+-])", line))[-6000:]
    )


def test_check_mode_on_the_live_stack_reports_no_change() -> None:
    unchanged(*run_page("docs/operations/deploy.md", "Before you start", timeout=900))


@pytest.mark.long
def test_a_second_deployment_changes_nothing_and_all_is_well() -> None:
    unchanged(*run_page("docs/operations/deploy.md", "Steps", timeout=900))
    run_page("docs/operations/deploy.md", "How you know that it worked")
