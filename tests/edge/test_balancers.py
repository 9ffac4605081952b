"""Certificates from a real ACME server, an address that outlives its holder, and rules that put themselves back."""

import re
import time

import pytest
from cryptography import x509

from .conftest import HOSTS, Balancers, on, wait_until

SHOW = "echo | openssl s_client -connect 127.0.0.1:443 -servername vuls.test 2>/dev/null | openssl x509"


def shown(host: str) -> x509.Certificate:
    """Return the certificate that browsers see."""
    return x509.load_pem_x509_certificate(on(host, SHOW).encode())


def holder(balancers: Balancers) -> str | None:
    address = balancers.shared.partition("/")[0]
    having = [name for name in HOSTS if address in on(name, "ip -4 -brief address show eth0")]
    return having[0] if len(having) == 1 else None


@pytest.mark.usefixtures("balancers")
def test_browsers_see_a_certificate_of_the_acme_server_on_both_balancers() -> None:
    """The server asks the second balancer only: what the first one asked for, it answered through its peer."""
    for name in HOSTS:
        certificate = shown(name)
        assert "Pebble" in certificate.issuer.rfc4514_string()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["vuls.test"]


def test_a_second_run_changes_nothing_and_asks_for_nothing(balancers: Balancers) -> None:
    before = {name: shown(name).serial_number for name in HOSTS}
    said = balancers.deploy("-e", "nginx_certificate_source=acme")
    counts = re.findall(r"changed=(\d+)", said)
    assert set(counts) == {"0"}, said[-3000:]
    assert {name: shown(name).serial_number for name in HOSTS} == before


@pytest.mark.usefixtures("balancers")
def test_the_renewal_runs_in_its_sandbox_and_nginx_shows_what_came() -> None:
    for name in HOSTS:
        assert on(name, "systemctl is-active vuls-acme.timer").strip() == "active"
        before, process = shown(name).serial_number, on(name, "cat /run/nginx.pid")
        # As if most of its time had passed.
        on(name, "sed -i '1i renew_before_expiry = 9000 days' /etc/letsencrypt/renewal/vuls.conf")
        on(
            name,
            "systemctl start vuls-acme.service || { journalctl -u vuls-acme --no-pager -n 40; false; }",
            timeout=180,
        )
        on(name, "sed -i '/^renew_before_expiry = 9000/d' /etc/letsencrypt/renewal/vuls.conf")
        wait_until(lambda n=name, b=before: shown(n).serial_number != b, timeout=20, what="the new one")  # type: ignore[misc]
        assert on(name, "cat /run/nginx.pid") == process


@pytest.mark.usefixtures("balancers")
def test_everything_else_on_port_80_is_sent_to_tls() -> None:
    asked = (
        "import http.client; c = http.client.HTTPConnection('127.0.0.1');"
        "c.request('GET', '/a?b', headers={'Host': 'vuls.test'});"
        "a = c.getresponse(); print(a.status, a.getheader('Location'))"
    )
    assert on("balancer-1", f'python3 -c "{asked}"').split() == ["308", "https://vuls.test/a?b"]


def test_the_address_goes_to_the_other_balancer_when_nginx_ends_and_stays_there(balancers: Balancers) -> None:
    first = wait_until(lambda: holder(balancers), timeout=30, what="one balancer has the address")
    began = time.monotonic()
    on(first, "systemctl stop nginx")
    try:
        other = wait_until(lambda: (h := holder(balancers)) != first and h, timeout=30, what="the other one has it")
        print(f"moved after {time.monotonic() - began:.1f} s")  # noqa: T201  for the log of the test
    finally:
        on(first, "systemctl start nginx")
    on(first, "for i in 1 2 3 4 5 6; do /usr/local/libexec/vuls-check-nginx && sleep 1; done")
    assert holder(balancers) == other


@pytest.mark.usefixtures("balancers")
def test_rules_that_nobody_confirms_put_themselves_back() -> None:
    program, rules = "/usr/local/sbin/vuls-firewall", "/etc/vuls/firewall.nft"
    before = on("balancer-1", "nft list table inet vuls_firewall | grep -v counter")
    on("balancer-1", f"sed 's/dport {{ 22 }}/dport {{ 23 }}/' {rules}.new > /var/tmp/wrong.nft")
    on("balancer-1", f"{program} try /var/tmp/wrong.nft 4; nft list table inet vuls_firewall | grep -q 'dport 23'")
    wait_until(
        lambda: on("balancer-1", "nft list table inet vuls_firewall | grep -v counter") == before,
        timeout=30,
        what="the rules of before",
    )
    assert on("balancer-1", f"cmp {rules} {rules}.new && ls {rules}.refused").strip() == f"{rules}.refused"


@pytest.mark.usefixtures("balancers")
def test_every_unit_here_is_shut_in() -> None:
    for name in HOSTS:
        for unit in ("nginx", "keepalived", "vuls-firewall", "vuls-acme"):
            said = on(name, f"systemd-analyze security --no-pager {unit}.service | tail -1")
            found = re.search(r": ([\d.]+)", said)
            assert found
            assert float(found[1]) <= 2.5, (name, unit, said)
