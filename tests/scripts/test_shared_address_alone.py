"""What keepalived is told of the other balancers, and of there being none."""

import jinja2
import pytest

from .ansible import ROOT

TEMPLATE = (ROOT / "roles/keepalived/templates/keepalived.conf.j2").read_text()


@pytest.mark.parametrize(
    ("addresses", "peers"),
    [
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], ["192.0.2.2", "192.0.2.3"]),
        # An empty block would turn it to multicast, which no firewall here lets through.
        (["192.0.2.1"], ["0.0.0.0"]),
    ],
    ids=["others", "alone"],
)
def test_a_balancer_speaks_to_addresses_only(addresses: list[str], peers: list[str]) -> None:
    written = jinja2.Environment(trim_blocks=True, autoescape=False).from_string(TEMPLATE)
    block = written.render(__keepalived_addresses=addresses, keepalived_virtual_addresses=["192.0.2.10/24"])
    inside = block.split("unicast_peer {\n")[1].split("}")[0]
    assert [line.split()[0] for line in inside.splitlines() if line.strip()[:1].isdigit()] == peers
    assert f"unicast_src_ip {addresses[0]}\n" in block
