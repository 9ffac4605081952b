"""The deployment describes the live stack exactly, also after everything else has acted on the hosts."""

import re

from . import stack

RECAP = re.compile(r"^(\S+)\s*: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


def recap(*options: str) -> dict[str, tuple[int, int]]:
    """Run site.yml and return changed and failed counts by host."""
    result = stack.ansible_playbook("site.yml", *options)
    assert result.returncode == 0, (result.stdout + result.stderr)[-6000:]
    hosts = {
        name: (int(changed), int(failed) + int(gone)) for name, _, changed, gone, failed in RECAP.findall(result.stdout)
    }
    assert set(stack.ALL_HOSTS) <= set(hosts), hosts
    changed = {name: counts for name, counts in hosts.items() if counts != (0, 0)}
    assert not changed, (
        f"{changed}\n"
        + "\n".join(
            line for line in result.stdout.splitlines() if re.match(r"(TASK|changed:|--- |\+\+\+ |[+-])", line)
        )[-6000:]
    )
    return hosts


def test_check_mode_on_the_live_stack_reports_no_change() -> None:
    recap("--check", "--diff")
