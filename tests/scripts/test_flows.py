"""The operators' page shows the table of flows that the firewall applies."""

import json
import re
from typing import Any

from .ansible import ROOT, ansible, said

HOST = "lb-1"
PAGE = ROOT / "docs/operations/firewall.md"


def variable(name: str, **extra: Any) -> Any:
    """Return what the inventory for production says, with every variable in it worked out."""
    line = ["-i", "inventories/production.example", HOST]
    line += ["-m", "ansible.builtin.debug", "-a", f"var={name}", "-e", json.dumps(extra)]
    done = ansible("ansible", *line, ANSIBLE_CALLBACK_RESULT_FORMAT="json")
    assert done.returncode == 0, said(done)
    return json.loads(done.stdout[done.stdout.index("{") :])[name]


def numbers(ports: list[str]) -> set[int]:
    """Return the ports of a flow, whose ranges are written 8441-8442."""
    pairs = (str(port).partition("-") for port in ports)
    return {number for first, _, last in pairs for number in range(int(first), int(last or first) + 1)}


def test_the_page_shows_the_table_of_flows() -> None:
    """With everything that an inventory can turn on."""
    shown = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    flows = [
        (
            ", ".join(flow["from"]),
            flow["to"],
            ", ".join(str(port) for port in flow.get("ports", [])) or flow["protocol"].upper(),
            flow["why"],
        )
        for flow in variable("vuls_flows", nginx_http_port=80, keepalived_virtual_addresses=["192.0.2.10/24"])
    ]
    assert shown[1:] == flows


def test_what_preflight_tries_is_in_the_table() -> None:
    """Preflight knows where TLS is spoken, which the firewall need not; who calls whom is the same."""
    groups = variable("groups")
    table = {
        (source, target, port)
        for flow in variable("vuls_flows")
        for tier in flow["from"]
        for source in groups.get(tier, [])
        for target in groups[flow["to"]]
        for port in numbers(flow["ports"])
    }
    tried = {
        (source, target, port)
        for flow in variable("preflight_flows")
        for source in flow["from"]
        for target in flow["to"]
        for port in numbers(flow["ports"])
    }
    assert tried
    assert not tried - table
    # Preflight leaves out targets, which are not there yet, and further database hosts, which nobody calls yet.
    assert {port for _, _, port in table - tried} <= {22, 5432}


def test_it_is_on_in_production_and_off_where_nobody_turned_it_on() -> None:
    assert variable("firewall_enabled") is True
