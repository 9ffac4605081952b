"""A port scan between all hosts finds the flows of the table, and nothing else.

The firewall takes minutes to be turned on and off as its page says, so it is for make test-all.
"""

from collections.abc import Iterator

import pytest

from tests import port_scan
from tests.port_scan import Flows, assert_only, opened
from tests.runbooks import run_page

from . import stack
from .test_sandboxes import LIMIT, exposure

# Targets are other people's machines: the bundle puts no firewall there, and they answer whom they like.
OURS = tuple(host for host in stack.ALL_HOSTS if "target" not in host)


@pytest.fixture(scope="module")
def firewall() -> Iterator[None]:
    """The rules in force on the stack that works, as docs/operations/firewall.md says; afterwards none, as it says."""
    if stack.variable("vuls-lb", "firewall_enabled"):
        yield
        return
    run_page(
        "docs/operations/firewall.md",
        "Steps",
        "Steps: a host is new, or has another address",
        "How you know that it worked",
    )
    yield
    run_page("docs/operations/firewall.md", "How to go back")
    left = {host for host in OURS if stack.on(host, "nft", "list", "table", "inet", "vuls_firewall").returncode == 0}
    assert not left, "these hosts kept the rules"


@pytest.fixture(scope="module")
def documented() -> Flows:
    flows, tiers = stack.variable("vuls-lb", "vuls_flows"), stack.variable("vuls-lb", "groups")
    return port_scan.documented(flows, tiers, stack.ALL_HOSTS)


def test_no_port_is_open_that_is_not_in_the_table(documented: Flows) -> None:
    """Whoever calls: without the firewall, too, hosts listen to nothing else."""
    seen = opened(port_scan.scan(documented, stack.ALL_HOSTS, OURS))
    assert seen
    assert not {flow[1:] for flow in seen} - {flow[1:] for flow in documented}


@pytest.mark.long
@pytest.mark.usefixtures("firewall")
def test_behind_the_firewall_only_the_flows_of_the_table_get_an_answer(documented: Flows) -> None:
    assert_only(documented, port_scan.scan(documented, stack.ALL_HOSTS, OURS), OURS)


@pytest.mark.long
@pytest.mark.usefixtures("firewall")
@pytest.mark.parametrize("host", OURS)
def test_the_unit_is_shut_in(host: str) -> None:
    level, why = exposure(host, "vuls-firewall")
    assert level <= LIMIT, f"{level}\n{why}"


@pytest.mark.long
@pytest.mark.usefixtures("firewall")
def test_the_rules_survive_a_reload_and_leave_those_of_others_alone() -> None:
    """On a scan host Docker has rules of its own, and every container of the stack has its engine's for DNS."""
    before = stack.shell("vuls-worker", "nft list ruleset 2>/dev/null | grep -c 'table ip '")
    stack.must(stack.on("vuls-worker", "systemctl", "reload", "vuls-firewall"))
    stack.must(stack.on("vuls-worker", "systemctl", "restart", "docker"))
    stack.must(stack.on("vuls-worker", "systemctl", "restart", "vuls-firewall"))
    assert stack.shell("vuls-worker", "nft list ruleset 2>/dev/null | grep -c 'table ip '") == before
    assert "policy drop" in stack.shell("vuls-worker", "nft list chain inet vuls_firewall input")
    stack.must(stack.on("vuls-worker", "docker", "version"))
