"""Which hosts reach which ports of which others, beside the table of who may."""

import json
import re
from collections.abc import Sequence
from typing import Any

from tests.e2e import stack

# Ports that nothing of ours uses and that must not answer either: what people open by mistake, and a few of nobody's.
OTHERS = {21, 22, 25, 80, 111, 631, 2375, 2376, 3306, 5433, 8080, 8440, 8443, 8444, 9000, 9100, 26379}
LOOPBACK = re.compile(r"^(127\.|\[::1\]|\[::ffff:127\.)")
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


def documented(flows: list[dict[str, Any]], tiers: dict[str, list[str]], hosts: Sequence[str]) -> Flows:
    """Return who of the hosts may call whom on which port, by the table and the groups of the inventory."""
    allowed = set()
    for flow in flows:
        sources = {h for tier in flow["from"] for h in (hosts if tier == "anyone" else tiers[tier])}
        allowed |= {
            (source, target, port)
            for source in sources
            for target in tiers[flow["to"]]
            for port in _numbers(flow.get("ports", []))
            if source != target
        }
    return allowed


def scan(allowed: Flows, hosts: Sequence[str], targets: Sequence[str]) -> Seen:
    """Return what every host sees of every port of every target: open, closed (refused) or silent."""
    ports = OTHERS | {port for _, _, port in allowed}
    for host in targets:
        for line in stack.shell(host, "ss -Hltn").splitlines():
            address, _, port = line.split()[3].rpartition(":")
            if not LOOPBACK.match(address):
                ports.add(int(port))
    addresses = {host: stack.address(host) for host in targets}
    names = {address: host for host, address in addresses.items()}
    seen: Seen = {}
    for source in hosts:
        wanted = json.dumps([[addresses[host], port] for host in targets if host != source for port in sorted(ports)])
        said = stack.must(stack.on(source, "python3", "-c", SCAN, "4", stdin=wanted))
        seen |= {(source, names[address], port): state for address, port, state in json.loads(said)}
    return seen


def opened(seen: Seen) -> Flows:
    """Return what answers."""
    return {flow for flow, state in seen.items() if state == "open"}


def assert_only(allowed: Flows, seen: Seen, targets: Sequence[str]) -> None:
    """Check that a firewall lets the flows of the table through and nothing else.

    A port without a listener would be refused: silence shows the firewall. SSH is open to operators, who may be anyone.
    """
    between_us = {flow for flow in allowed if flow[1] in targets}
    assert between_us
    assert between_us - opened(seen) == set(), "the table has these"
    assert opened(seen) - allowed == set(), "the table has none of these"
    refused = {flow for flow, state in seen.items() if state == "closed" and flow not in allowed}
    assert not {flow for flow in refused if flow[2] != 22}


def _numbers(ports: list[str]) -> set[int]:
    """Return the ports of a flow, whose ranges are written 8441-8442."""
    found: set[int] = set()
    for entry in ports:
        first, _, last = str(entry).partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
