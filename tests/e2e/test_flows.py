"""A port scan between all hosts finds the flows of the table, and nothing else.

The firewall takes minutes to be turned on and off as its page says, so it is for make test-all.
"""

import json
import re
from collections.abc import Iterator

import pytest

from tests.runbooks import run_page

from . import stack
from .test_sandboxes import LIMIT, exposure

# Ports that nothing of ours uses and that must not answer either: what people open by mistake, and a few of nobody's.
OTHERS = {21, 22, 25, 80, 111, 631, 2375, 2376, 3306, 5433, 8080, 8440, 8443, 8444, 9000, 9100, 26379}
LOOPBACK = re.compile(r"^(127\.|\[::1\]|\[::ffff:127\.)")
# Targets are other people's machines: the bundle puts no firewall there, and they answer whom they like.
OURS = tuple(host for host in stack.ALL_HOSTS if "target" not in host)
SCAN = """
import asyncio, json, sys

async def probe(address, port):
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), float(sys.argv[1]))
    except ConnectionRefusedError:
        return "closed"
    except (TimeoutError, asyncio.TimeoutError, OSError):
        return "silent"
    writer.close()
    return "open"

async def main():
    wanted = json.load(sys.stdin)
    states = await asyncio.gather(*(probe(*pair) for pair in wanted))
    print(json.dumps([[*pair, state] for pair, state in zip(wanted, states)]))

asyncio.run(main())
"""
Flows = set[tuple[str, str, int]]  # from, to, port
Seen = dict[tuple[str, str, int], str]


def numbers(ports: list[str]) -> set[int]:
    """Return the ports of a flow, whose ranges are written 8441-8442."""
    found: set[int] = set()
    for entry in ports:
        first, _, last = str(entry).partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


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
    """Who may call whom on which port, by the table and the groups of the inventory."""
    flows, tiers = stack.variable("vuls-lb", "vuls_flows"), stack.variable("vuls-lb", "groups")
    allowed = set()
    for flow in flows:
        sources = {h for tier in flow["from"] for h in (stack.ALL_HOSTS if tier == "anyone" else tiers[tier])}
        allowed |= {
            (source, target, port)
            for source in sources
            for target in tiers[flow["to"]]
            for port in numbers(flow["ports"])
            if source != target
        }
    return allowed


def scan(documented: Flows) -> Seen:
    """Return what every host sees of every port of every other one."""
    ports = OTHERS | {port for _, _, port in documented}
    for host in OURS:
        for line in stack.shell(host, "ss -Hltn").splitlines():
            address, _, port = line.split()[3].rpartition(":")
            if not LOOPBACK.match(address):
                ports.add(int(port))
    addresses = {host: stack.address(host) for host in OURS}
    names = {address: host for host, address in addresses.items()}
    seen: Seen = {}
    for source in stack.ALL_HOSTS:
        wanted = json.dumps([[addresses[host], port] for host in OURS if host != source for port in sorted(ports)])
        said = stack.must(stack.on(source, "python3", "-c", SCAN, "4", stdin=wanted))
        seen |= {(source, names[address], port): state for address, port, state in json.loads(said)}
    return seen


def opened(seen: Seen) -> Flows:
    """Return what answers."""
    return {flow for flow, state in seen.items() if state == "open"}


def test_no_port_is_open_that_is_not_in_the_table(documented: Flows) -> None:
    """Whoever calls: without the firewall, too, hosts listen to nothing else."""
    seen = opened(scan(documented))
    assert seen
    assert not {flow[1:] for flow in seen} - {flow[1:] for flow in documented}


@pytest.mark.long
@pytest.mark.usefixtures("firewall")
def test_behind_the_firewall_only_the_flows_of_the_table_get_an_answer(documented: Flows) -> None:
    """A port without a listener would be refused: silence shows the firewall. SSH is open to operators (anyone)."""
    seen = scan(documented)
    between_us = {flow for flow in documented if flow[1] in OURS}
    assert between_us
    assert between_us - opened(seen) == set(), "the table has these"
    assert opened(seen) - documented == set(), "the table has none of these"
    refused = {flow for flow, state in seen.items() if state == "closed" and flow not in documented}
    assert not {flow for flow in refused if flow[2] != 22}


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
