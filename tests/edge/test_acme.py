"""Certificates from a real ACME server on two balancers that share an address. One story in the order of the tests.

Those that are not `long` belong to make test, for both releases of Debian.
"""

import re
from datetime import UTC, datetime
from functools import partial

import pytest
from cryptography import x509

from tests.e2e.stack import wait_until
from tests.e2e.test_sandboxes import LIMIT, exposure

from .conftest import HOSTS, SHORT, USUAL, Balancers, Pebble, changed, on

LIVE = "/var/lib/vuls-acme/config/live/vuls/fullchain.pem"
PROGRAM = "/usr/local/lib/vuls/acme"


def shown(host: str) -> x509.Certificate:
    """Return the certificate that browsers see."""
    said = on(host, "echo | openssl s_client -connect 127.0.0.1:443 -servername vuls.test 2>/dev/null | openssl x509")
    return x509.load_pem_x509_certificate(said.encode())


def serials() -> dict[str, int]:
    return {name: shown(name).serial_number for name in HOSTS}


def issuer(certificate: x509.Certificate) -> str:
    return certificate.issuer.rfc4514_string()


def reloads() -> dict[str, int]:
    """How often nginx was reloaded so far."""
    count = "journalctl --no-pager --output=cat --unit=nginx | grep -c '^Reloaded ' || true"
    return {name: int(on(name, count)) for name in HOSTS}


def more(counts: dict[str, int], number: int) -> dict[str, int]:
    return {name: count + number for name, count in counts.items()}


def seconds(certificate: x509.Certificate) -> float:
    """How long it holds."""
    return (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds()


def differs(host: str, serial: int) -> bool:
    """Whether browsers see another certificate; a reload takes a moment after systemctl has returned."""
    return shown(host).serial_number != serial


def has_failed(host: str) -> bool:
    return "failed" in on(host, "systemctl is-failed vuls-acme.service || true")


def usual(balancers: Balancers) -> Pebble:
    return balancers.servers[USUAL[0]]


def short(balancers: Balancers) -> Pebble:
    return balancers.servers[SHORT[0]]


@pytest.mark.long
def test_check_mode_gets_through_on_bare_hosts_and_changes_nothing(balancers: Balancers) -> None:
    balancers.acme("--check", "--diff")
    for name in HOSTS:
        on(name, "! command -v nginx && ! command -v certbot && ! command -v keepalived && ! id vuls-acme 2>/dev/null")


def test_a_first_deployment_without_an_answer_shows_the_internal_certificate_and_says_why(balancers: Balancers) -> None:
    said = balancers.acme(fails=True)
    assert "got no new certificate from https://pebble.test:14000/dir" in said
    assert "Connection refused" in said
    for word in ("ERROR", "Meaning", "Next"):
        assert word in said
    for name in HOSTS:
        assert "Vuls Live internal CA" in issuer(shown(name))
        assert on(name, "systemctl is-active nginx keepalived vuls-acme.timer").split() == ["active"] * 3


def test_both_balancers_get_a_certificate_whichever_the_server_asks(balancers: Balancers) -> None:
    """The name leads to the shared address, so one of them answers for the other."""
    server, counted = balancers.start(*USUAL), reloads()
    balancers.acme("--tags", "acme")
    assert server.issued() == 2
    assert reloads() == more(counted, 1)
    for name in HOSTS:
        certificate = shown(name)
        assert "Pebble" in issuer(certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["vuls.test"]
        assert on(name, "cd /etc/vuls/edge && stat -c '%U %a %n' *").splitlines() == [
            "root 644 edge.crt",
            "root 600 edge.key",
        ]
    assert len(set(serials().values())) == 2, "each has one of its own"


def test_a_second_run_changes_nothing_and_asks_for_nothing(balancers: Balancers) -> None:
    before, counted = serials(), reloads()
    said = balancers.acme()
    assert changed(said) == []
    assert serials() == before
    assert usual(balancers).issued() == 2
    assert reloads() == counted


@pytest.mark.long
def test_check_mode_on_live_hosts_has_nothing_to_change(balancers: Balancers) -> None:
    assert changed(balancers.acme("--check", "--diff")) == []


@pytest.mark.long
def test_a_look_that_finds_nothing_to_do_asks_nobody_and_reloads_nothing(balancers: Balancers) -> None:
    said, counted = usual(balancers).log.stat().st_size, reloads()
    for name in HOSTS:
        on(name, "systemctl start vuls-acme.service")
        assert on(name, f"{PROGRAM} look") == ""
    assert usual(balancers).log.stat().st_size == said
    assert reloads() == counted


def test_everything_else_on_port_80_is_sent_to_tls() -> None:
    asked = (
        "import http.client; c = http.client.HTTPConnection('127.0.0.1');"
        "c.request('GET', '/a?b', headers={'Host': 'vuls.test'});"
        "a = c.getresponse(); print(a.status, a.getheader('Location'))"
    )
    assert on("edge-lb-1", f'python3 -c "{asked}"').split() == ["308", "https://vuls.test/a?b"]


def test_who_speaks_to_the_server_is_shut_in_and_owns_nothing_else() -> None:
    for name in HOSTS:
        for unit in ("vuls-acme", "nginx", "keepalived", "vuls-firewall"):
            level, why = exposure(name, unit)
            print(f"{name} {unit}: {level}")  # noqa: T201  a figure for the log of the test
            assert level <= LIMIT, f"{unit} on {name}: {level}\n{why}"
        found = on(name, "find / -xdev -user vuls-acme -not -path '/var/lib/vuls-acme*' -not -path '/proc/*'")
        assert found == ""
        assert on(name, "systemctl show --value --property=User vuls-acme.service").strip() == "vuls-acme"


@pytest.mark.long
def test_new_rules_of_nginx_that_are_wrong_keep_the_certificate_of_before_in_service(balancers: Balancers) -> None:
    """What came is put into service once nginx takes it, without asking for another one."""
    name, conf = "edge-lb-1", "/etc/nginx/nginx.conf"
    counted, before = reloads(), shown(name)
    pair = on(name, "cd /etc/vuls/edge && sha256sum edge.crt edge.key")
    on(name, f"rm /var/lib/vuls-acme/asked-for && cp -p {conf} /root/right && echo 'wrong wrong;' >> {conf}")
    try:
        on(name, "systemctl start vuls-acme.service", fails=True)
        said = on(name, "journalctl --no-pager --output=cat --unit=vuls-acme -n 30")
        assert "it goes on with the certificate of before" in said
        assert usual(balancers).issued() == 3
        assert on(name, "cd /etc/vuls/edge && sha256sum edge.crt edge.key") == pair
        assert on(name, "ls /etc/vuls/edge").split() == ["edge.crt", "edge.key"]
        assert shown(name) == before
        assert "is not in service" in on(name, f"{PROGRAM} look")
    finally:
        on(name, f"mv /root/right {conf}")
    on(name, "systemctl start vuls-acme.service")
    wait_until(partial(differs, name, before.serial_number), timeout=20, what="nginx shows what came")
    assert usual(balancers).issued() == 3
    assert reloads() == counted | {name: counted[name] + 1}


@pytest.mark.long
def test_the_timer_renews_when_a_third_of_the_time_is_left_and_has_nginx_reloaded_once(balancers: Balancers) -> None:
    """From another server, which is asked as soon as the inventory names it."""
    server, counted = balancers.start(*SHORT), reloads()
    master = {name: on(name, "cat /run/nginx.pid") for name in HOSTS}
    balancers.acme(
        "--tags", "acme", acme_directory=f"https://pebble.test:{SHORT[0]}/dir", acme_renew_calendar="*:*:0/5",
        acme_renew_spread="0",
    )  # fmt: skip
    first = {name: shown(name) for name in HOSTS}
    assert reloads() == more(counted, 1)
    for name in HOSTS:
        assert abs(seconds(first[name]) - SHORT[1]) < 2
        wait_until(partial(differs, name, first[name].serial_number), timeout=SHORT[1] + 60, what="renewal")
        second = shown(name)
        age = (second.not_valid_before_utc - first[name].not_valid_before_utc).total_seconds()
        print(f"{name}: renewed {age:.0f} s after {seconds(first[name]):.0f} began")  # noqa: T201
        assert age >= SHORT[1] * 2 / 3 - 1
        assert on(name, "cat /run/nginx.pid") == master[name]
    server.stop()
    assert reloads() == more(counted, 2)


@pytest.mark.long
@pytest.mark.usefixtures("balancers")
def test_a_server_that_fails_leaves_the_certificate_in_service_with_a_clear_word() -> None:
    """The one that renewed is away now, and the certificate becomes due again."""
    counted, before = reloads(), serials()
    for name in HOSTS:
        wait_until(partial(has_failed, name), timeout=SHORT[1] + 60, what="a look that fails")
        said = on(name, "journalctl --no-pager --output=cat --unit=vuls-acme --grep='ERROR|Meaning|Next' -n 3")
        assert f"ERROR: https://pebble.test:{SHORT[0]}/dir gave no certificate" in said
        assert re.search(r"Meaning: browsers go on seeing the certificate of before \(issuer=.*Pebble.*notAfter=", said)
        assert "Next:    see that the server can be reached" in said
        on(name, "systemctl is-active nginx")
    assert serials() == before
    assert reloads() == counted


@pytest.mark.long
def test_a_challenge_that_fails_stops_the_run_with_the_servers_words_and_is_mended_by_the_next_look(
    balancers: Balancers,
) -> None:
    before, issued = serials(), usual(balancers).issued()
    balancers.names_lead_to("127.0.0.2")
    said = balancers.acme("--tags", "acme", fails=True)
    assert "got no new certificate" in said
    assert "Detail: " in said
    assert serials() == before
    balancers.names_lead_to(balancers.address)
    for name in HOSTS:
        on(name, "systemctl start vuls-acme.service", timeout=300)
        wait_until(partial(differs, name, before[name]), timeout=20, what="nginx shows what came")
        certificate = shown(name)
        assert certificate.not_valid_after_utc > datetime.now(UTC)
        assert seconds(certificate) > 80 * 86400
    assert usual(balancers).issued() == issued + 2
    assert changed(balancers.acme("--tags", "acme")) == []


@pytest.mark.long
def test_the_way_back_to_the_internal_certificate_ends_the_renewals(balancers: Balancers) -> None:
    name = "edge-lb-2"
    balancers.deploy("--tags", "nginx", "--limit", name)
    assert "Vuls Live internal CA" in issuer(shown(name))
    on(name, "rm /var/lib/vuls-acme/asked-for")  # a reason to ask
    said = usual(balancers).issued()
    on(name, "systemctl start vuls-acme.service")
    assert usual(balancers).issued() == said
    # Once more the one of the server, which it still has.
    balancers.acme("--limit", name)
    assert "Pebble" in issuer(shown(name))
