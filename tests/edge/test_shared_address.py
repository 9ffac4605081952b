"""The address of two balancers outlives nginx and the host of its holder, and stays where it went."""

import socket
import ssl
import statistics
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address

import pytest

from tests.e2e.stack import wait_until

from .conftest import HOSTS, Balancers, changed, name_the_server, on, run

pytestmark = pytest.mark.long
QUIET = 3.0


class Browser:
    """Asks for a page at the shared address ten times a second, over new connections, and notes who answered when."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: list[tuple[float, str]] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def _ask(self) -> None:
        while not self.ended.wait(0.1):
            host = self.once()
            if host:
                self.answers.append((time.monotonic(), host))

    def once(self) -> str:
        """Return which balancer answered; nothing when none did within a second."""
        try:
            with (
                socket.create_connection((self.address, 443), timeout=1) as plain,
                self.context.wrap_socket(plain, server_hostname="vuls.test") as secure,
            ):
                secure.sendall(b"GET / HTTP/1.0\r\nHost: vuls.test\r\n\r\n")
                said = b"".join(iter(lambda: secure.recv(4096), b"")).decode()
        except OSError:
            return ""
        return said.rpartition("\n")[2].strip() if said.startswith("HTTP/1.1 200") else ""

    def is_with_another_than(self, host: str) -> bool:
        return self.answers[-1][1] != host

    def gap(self, since: float) -> tuple[float, str]:
        """Return the seconds without an answer around a moment, and who answered then; 0 when there were none."""
        last = max((when for when, _ in self.answers if when <= since), default=since)
        after = [(when, host) for when, host in self.answers if when > since]
        return max(
            (b - a for a, b in zip([last, *(w for w, _ in after)], (w for w, _ in after), strict=False)), default=0.0
        ), (after[-1][1] if after else "")


@contextmanager
def browsing(address: str) -> Iterator[Browser]:
    browser = Browser(address)
    browser.thread.start()
    try:
        wait_until(lambda: browser.answers, timeout=30, what="the page answers at the shared address")
        yield browser
    finally:
        browser.ended.set()
        browser.thread.join()


def holders(balancers: Balancers) -> list[str]:
    """Return which balancers have the address."""
    return [
        name for name in HOSTS if f" {balancers.address}/" in on(name, "ip -4 -brief address show eth0 || true") + " "
    ]


def settled(balancers: Balancers) -> str:
    """Return the one balancer that has the address while the other one could take it."""

    def one() -> str:
        with_it = holders(balancers)
        ready = [name for name in HOSTS if "succeeded" in last_word(name)]
        return with_it[0] if len(with_it) == 1 and len(ready) == len(HOSTS) else ""

    return wait_until(one, timeout=60, what="one balancer has the address, and both are ready")


def last_word(host: str) -> str:
    """Return what keepalived last found nginx to be."""
    return on(host, "journalctl --no-pager --output=cat --unit=keepalived --grep='VRRP_Script.nginx.' -n 1 || true")


def is_up(host: str) -> bool:
    return "running" in on(host, "systemctl is-system-running || true")


def other_than(host: str) -> str:
    return next(name for name in HOSTS if name != host)


def note(what: str, took: list[float]) -> None:
    """Leave the figures in the log of the test."""
    print(f"{what}: {[round(s, 1) for s in took]} s without an answer, median {statistics.median(took):.1f}")  # noqa: T201


def stays_with(balancers: Balancers, host: str, browser: Browser) -> None:
    """Fail when the address moves within the time in which it would."""
    moment = time.monotonic()
    time.sleep(QUIET + 4)
    assert holders(balancers) == [host]
    assert {who for when, who in browser.answers if when > moment} == {host}


def test_one_balancer_has_the_address_and_a_second_run_does_not_move_it(balancers: Balancers) -> None:
    first = settled(balancers)
    assert changed(balancers.deploy("--tags", "keepalived")) == []
    assert settled(balancers) == first


@pytest.mark.parametrize("signal", ["stop", "kill"])
def test_it_goes_to_the_other_one_when_nginx_ends_and_stays_there(balancers: Balancers, signal: str) -> None:
    ends = {"stop": "systemctl stop nginx", "kill": "systemctl mask --runtime nginx; systemctl kill -s KILL nginx"}[
        signal
    ]
    took = []
    with browsing(balancers.address) as browser:
        for _ in range(3):
            first = settled(balancers)
            began = time.monotonic()
            on(first, ends)
            wait_until(partial(browser.is_with_another_than, first), timeout=30, what="the other one answers")
            seconds, who = browser.gap(began)
            took.append(seconds)
            assert who == other_than(first)
            on(first, "systemctl unmask --runtime nginx; systemctl start nginx")
            assert settled(balancers) == who
        stays_with(balancers, who, browser)
    note(f"nginx ended ({signal})", took)
    assert max(took) < 10


def test_it_goes_to_the_other_one_when_the_host_dies_and_stays_there_when_it_is_back(balancers: Balancers) -> None:
    took = []
    with browsing(balancers.address) as browser:
        for _ in range(3):
            first = settled(balancers)
            began = time.monotonic()
            run("docker", "kill", first)
            try:
                wait_until(partial(browser.is_with_another_than, first), timeout=30, what="the other one answers")
                seconds, who = browser.gap(began)
                took.append(seconds)
            finally:
                run("docker", "start", first)
            wait_until(partial(is_up, first), timeout=120, what="boot")
            name_the_server(balancers, first)
            assert settled(balancers) == who == other_than(first)
        stays_with(balancers, who, browser)
    note("host died", took)
    assert max(took) < 10


def test_it_is_moved_by_hand_by_a_restart_where_it_is(balancers: Balancers) -> None:
    """The command of docs/operations/load-balancers.md."""
    took = []
    with browsing(balancers.address) as browser:
        for _ in range(3):
            first = settled(balancers)
            began = time.monotonic()
            on(first, "systemctl restart keepalived")
            wait_until(partial(browser.is_with_another_than, first), timeout=30, what="the other one answers")
            time.sleep(QUIET)
            seconds, who = browser.gap(began)
            took.append(seconds)
            assert settled(balancers) == who == other_than(first)
    note("moved by hand", took)
    assert max(took) < 5


def advertisement(address: str, source: str, target: str) -> bytes:
    """A VRRP 3 packet (RFC 5798) of somebody who has priority 254 and wants the address."""
    body = struct.pack("!BBBBHH4s", 0x31, 51, 254, 1, 100, 0, IPv4Address(address).packed)
    pseudo = IPv4Address(source).packed + IPv4Address(target).packed + struct.pack("!BBH", 0, 112, len(body))
    words = struct.unpack(f"!{len(pseudo + body) // 2}H", pseudo + body)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return body[:6] + struct.pack("!H", ~total & 0xFFFF) + body[8:]


def test_nobody_but_a_peer_takes_it_away(balancers: Balancers) -> None:
    """The controller says that it has the address; neither the firewall nor keepalived itself listens."""
    first = settled(balancers)
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    own = run("docker", "inspect", "--format", form, first).strip()

    def claim(seconds: float) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, 112) as raw:
            raw.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                raw.sendto(advertisement(balancers.address, balancers.gateway, own), (own, 0))
                time.sleep(0.2)

    refused = "nft list table inet vuls_firewall | sed -n 's/.*counter packets \\([0-9]*\\).*/\\1/p'"
    before = int(on(first, refused))
    claim(QUIET)
    assert int(on(first, refused)) > before + 5
    assert holders(balancers) == [first]
    on(first, "nft insert rule inet vuls_firewall input ip protocol 112 accept")
    try:
        claim(QUIET)
        assert holders(balancers) == [first]
    finally:
        on(first, "systemctl restart vuls-firewall")


def test_it_is_given_away_for_good_where_the_inventory_says_so(balancers: Balancers) -> None:
    first = settled(balancers)
    balancers.deploy("--tags", "keepalived", "--limit", first, "-e", "keepalived_enabled=false")
    wait_until(lambda: holders(balancers) == [other_than(first)], timeout=30, what="the other one has the address")
    assert on(first, "systemctl is-enabled keepalived || true").strip() == "disabled"
    said = subprocess.run(
        ["docker", "exec", first, "systemctl", "is-active", "keepalived"], capture_output=True, check=False
    )
    assert said.stdout.strip() == b"inactive"
    assert changed(balancers.deploy("--tags", "keepalived", "--limit", first, "-e", "keepalived_enabled=false")) == []
