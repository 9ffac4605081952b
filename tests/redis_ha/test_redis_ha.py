"""Three Redis hosts with Sentinel, deployed by the role: what a failover does, and what a deployment does after one.

One story in the order of the tests. Needs a Docker engine and the images of scripts/images.sh.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import environment
from tests.e2e.test_sandboxes import LIMIT, exposure

ROOT = Path(__file__).resolve().parents[2]
LABEL = "test-redis-ha"
HOSTS = {"redis-ha-1": "bookworm", "redis-ha-2": "bookworm", "redis-ha-3": "trixie"}
FAILOVERS = int(os.environ.get("REDIS_HA_FAILOVERS", "3"))
LIVE = "/var/lib/redis-sentinel/sentinel.conf"


def run(*argv: str, timeout: float = 120, stdin: str = "", **further: str) -> str:
    """Run a program and return what it printed; fails with all of it when the program does."""
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout, input=stdin, cwd=ROOT, check=False,
        env=environment.of_the_checkout(**further),
    )  # fmt: skip
    assert done.returncode == 0, f"{argv} ended with {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def eventually(probe: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return what `probe` returns once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.3)


class Hosts:
    """The deployed hosts."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.last = ""
        self.said = ""

    def play(self, *arguments: str) -> dict[str, int]:
        """Run the playbook and return what it counted over all hosts."""
        out = run(
            str(ROOT / ".venv/bin/ansible-playbook"), "-i", "tests/redis_ha/inventory", "tests/redis_ha/converge.yml",
            *arguments, timeout=1500, VULS_STATE_DIR=str(self.state),
        )  # fmt: skip
        self.said = " ".join(out.split())
        counts = re.findall(r"(changed|unreachable|failed)=(\d+)", out)
        total = {name: sum(int(number) for key, number in counts if key == name) for name, _ in counts}
        assert total, out
        # What changed where nothing should have, for the one who reads why a test failed.
        self.last = "\n".join(re.findall(r"^(?:TASK|RUNNING HANDLER|changed:|[+-]).*", out, re.MULTILINE)[-200:])
        return total

    def secret(self, name: str) -> str:
        return (self.state / name).read_text()

    def cli(self, host: str, *command: str, user: str = "operator", port: int = 6379) -> str:
        """Run a command at a Redis or, with its port, a Sentinel; errors are what it prints."""
        name = "worker-default" if user == "worker" else user
        line = f"AUTH {name} {self.secret(user)}\n" + " ".join(command) + "\n"
        argv = ["redis-cli", "--tls", "--cacert", "/etc/vuls/pki/ca.crt", "-h", host, "-p", str(port)]
        done = subprocess.run(
            ["docker", "exec", "-i", "-u", "redis", host, *argv],
            input=line, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        return done.stdout.partition("\n")[2].strip() if done.stdout.startswith("OK") else done.stdout + done.stderr

    def sentinel(self, host: str, *command: str, user: str = "operator") -> str:
        return self.cli(host, "SENTINEL", *command, user=user, port=26379)

    def primary(self, asked: str) -> str:
        """Return the host that the Sentinel of `asked` names."""
        return self.sentinel(asked, "GET-MASTER-ADDR-BY-NAME", "vuls").partition("\n")[0]

    def is_primary(self, host: str) -> bool:
        """Whether the Sentinel of the one that never becomes primary names this host."""
        return self.primary("redis-ha-3") == host

    def answers(self, host: str) -> bool:
        return "role:" in self.cli(host, "INFO", "replication")

    def is_in_step(self, host: str) -> bool:
        return "master_link_status:up" in self.cli(host, "INFO", "replication")

    def addresses(self) -> dict[str, str]:
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return {host: run("docker", "inspect", "--format", template, host).strip() for host in HOSTS}

    def live_config(self, host: str) -> str:
        return run("docker", "exec", host, "cat", LIVE)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    if os.environ.get("REDIS_HA_STATE"):  # hosts that are there already, to work on the tests
        yield Hosts(Path(os.environ["REDIS_HA_STATE"]))
        return
    specification = " ".join(f"{host}:{suite}" for host, suite in HOSTS.items())
    run(str(ROOT / "scripts/stack.sh"), "create", "--label", LABEL, "--hosts", specification, timeout=300)
    try:
        yield Hosts(tmp_path_factory.mktemp("state"))
    finally:
        run(str(ROOT / "scripts/stack.sh"), "destroy", "--label", LABEL, timeout=300)


class Traffic:
    """traffic.py as a process, and what it has said."""

    def __init__(self, hosts: Hosts, log: Path) -> None:
        self._log = log
        settings = {
            "VULS_COMPONENT": "web",
            "VULS_INSTANCE": "test:1",
            "VULS_REDIS_SENTINELS": ",".join(f"{host}:26379" for host in HOSTS),
            "VULS_REDIS_USER": "web",
            "VULS_REDIS_PASSWORD": hosts.secret("web"),
            "VULS_REDIS_SENTINEL_PASSWORD": hosts.secret("client"),
            "VULS_REDIS_CA": str(hosts.state / "ca.crt"),
            "VULS_TEST_ADDRESSES": json.dumps(hosts.addresses()),
        }
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [str(ROOT / ".local/venvs/web-app/bin/python"), "-m", "tests.sentinel_traffic"],
                stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env=os.environ | settings,
                cwd=ROOT / "services/web-app",
            )  # fmt: skip

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def said(self, what: str, since: float = 0) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["what"] == what and line["at"] >= since]

    def wait_for(self, what: str, since: float, seconds: float) -> float:
        """Return when something was said first after a moment."""
        found = eventually(lambda: self.said(what, since), seconds, f"{what}: {self._log.read_text()[-2000:]}")
        return float(found[0]["at"])

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def traffic(hosts: Hosts, tmp_path: Path) -> Iterator[Traffic]:
    running = Traffic(hosts, tmp_path / "traffic.log")
    try:
        running.wait_for("heard", 0, 60)
        yield running
    finally:
        running.stop()


def test_a_check_of_bare_hosts_goes_through(hosts: Hosts) -> None:
    assert hosts.play("--check", "--diff")["failed"] == 0


def test_a_second_run_changes_nothing(hosts: Hosts) -> None:
    assert hosts.play()["failed"] == 0
    for host in HOSTS:
        assert hosts.primary(host) == "redis-ha-1"
    assert hosts.play()["changed"] == 0, hosts.last


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("unit", ["redis-server", "redis-sentinel"])
def test_both_are_shut_in(hosts: Hosts, host: str, unit: str) -> None:
    assert hosts.answers(host)
    level, why = exposure(host, unit)
    assert level <= LIMIT, f"{level}\n{why}"


def test_replicas_and_sentinels_go_by_their_names(hosts: Hosts) -> None:
    eventually(lambda: hosts.is_in_step("redis-ha-2") and hosts.is_in_step("redis-ha-3"), 30, "replicas in step")
    assert "ip=redis-ha-2" in hosts.cli("redis-ha-1", "INFO", "replication")
    for host in HOSTS:
        others = hosts.sentinel(host, "SENTINELS", "vuls")
        assert {name for name in HOSTS if name in others.splitlines()} == set(HOSTS) - {host}


@pytest.mark.parametrize(
    ("user", "port", "command"),
    [
        ("replica", 6379, ("GET", "scan.default")),
        ("replica", 6379, ("CONFIG", "GET", "requirepass")),
        ("sentinel", 6379, ("LPUSH", "scan.default", "x")),
        ("sentinel", 6379, ("CONFIG", "SET", "maxmemory", "1")),
        ("sentinel", 6379, ("PUBLISH", "task_notifications", "x")),
        ("sentinel", 6379, ("ACL", "LIST")),
        ("web", 6379, ("REPLICAOF", "NO", "ONE")),
        ("web", 6379, ("REPLCONF", "listening-port", "1")),
        ("client", 26379, ("SENTINEL", "FAILOVER", "vuls")),
        ("client", 26379, ("SENTINEL", "RESET", "vuls")),
        ("client", 26379, ("ACL", "LIST")),
        ("peer", 26379, ("SENTINEL", "REMOVE", "vuls")),
    ],
)
def test_no_user_may_do_more_than_it_needs(hosts: Hosts, user: str, port: int, command: tuple[str, ...]) -> None:
    assert "NOPERM" in hosts.cli("redis-ha-1", *command, user=user, port=port)


@pytest.mark.usefixtures("hosts")
def test_nobody_gets_in_without_a_password_or_tls() -> None:
    for port in ("6379", "26379"):
        tls = ["redis-cli", "--tls", "--cacert", "/etc/vuls/pki/ca.crt", "-h", "redis-ha-1", "-p", port, "PING"]
        assert "NOAUTH" in run("docker", "exec", "redis-ha-1", *tls)
        plain = subprocess.run(
            ["docker", "exec", "redis-ha-1", "redis-cli", "-h", "redis-ha-1", "-p", port, "PING"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert "PONG" not in plain.stdout


def lose(host: str, how: str) -> None:
    run("docker", how, host)


def bring_back(host: str, how: str) -> None:
    run("docker", "unpause" if how == "pause" else "start", host)


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_clients_follow_a_failover_and_the_old_primary_comes_back_as_a_replica(
    hosts: Hosts, traffic: Traffic, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    taken, heard = [], []
    for _ in range(FAILOVERS):
        old = hosts.primary("redis-ha-3")
        new = "redis-ha-2" if old == "redis-ha-1" else "redis-ha-1"
        eventually(partial(hosts.is_in_step, new), 60, f"{new} in step")
        lost = time.time()
        lose(old, how)
        try:
            eventually(partial(hosts.is_primary, new), 60, f"{new} as the primary")
            taken.append(traffic.wait_for("published", lost + 1.5, 60) - lost)
            heard.append(traffic.wait_for("heard", lost + 1.5, 60) - lost)
        finally:
            bring_back(old, how)
        eventually(partial(hosts.is_in_step, old), 60, f"{old} as a replica")
        assert hosts.primary("redis-ha-3") == new
    with capsys.disabled():
        for name, values in (("publishing works", taken), ("messages arrive", heard)):
            sys.stdout.write(
                f"\nprimary's host lost ({how}), {name} again after {statistics.median(values):.1f} s"
                f" (median of {len(values)}; {min(values):.1f} to {max(values):.1f})"
            )


def test_a_run_after_a_failover_changes_and_undoes_nothing(hosts: Hosts) -> None:
    # Not the first of the list: that is where an eager run would bring it.
    if hosts.primary("redis-ha-3") == "redis-ha-1":
        assert hosts.sentinel("redis-ha-3", "FAILOVER", "vuls") == "OK"
        eventually(lambda: hosts.primary("redis-ha-3") == "redis-ha-2", 60, "redis-ha-2 as the primary")
        eventually(lambda: hosts.is_in_step("redis-ha-1"), 60, "redis-ha-1 as a replica")
    assert hosts.play("--check", "--diff")["changed"] == 0, hosts.last
    assert hosts.play()["changed"] == 0, hosts.last
    assert hosts.primary("redis-ha-3") == "redis-ha-2"
    # A restart asks the Sentinels too: nothing on the host itself says who is primary.
    for host in ("redis-ha-1", "redis-ha-2"):
        run("docker", "exec", host, "systemctl", "restart", "redis-sentinel", "redis-server")
        eventually(partial(hosts.answers, host), 30, f"{host} up")
    assert "role:master" in hosts.cli("redis-ha-2", "INFO", "replication")
    eventually(lambda: hosts.is_in_step("redis-ha-1"), 30, "redis-ha-1 in step")
    assert {hosts.primary(host) for host in HOSTS} == {"redis-ha-2"}


def test_a_changed_setting_reaches_a_sentinel_that_keeps_what_it_has_learned(hosts: Hosts) -> None:
    before = hosts.live_config("redis-ha-3")
    assert hosts.play("-e", "redis_sentinel_down_after=4000", "--tags", "redis")["failed"] == 0
    after = hosts.live_config("redis-ha-3")
    assert "down-after-milliseconds vuls 4000" in after
    for line in ("sentinel myid", "sentinel monitor vuls redis-ha-2 6379 2"):
        assert (
            [one for one in before.splitlines() if one.startswith(line)]
            == [one for one in after.splitlines() if one.startswith(line)]
            != []
        )
    assert hosts.primary("redis-ha-3") == "redis-ha-2"


def test_without_a_quorum_nothing_is_elected_and_a_run_says_so(hosts: Hosts) -> None:
    for host in ("redis-ha-1", "redis-ha-2"):
        run("docker", "pause", host)
    try:
        eventually(lambda: "NOQUORUM" in hosts.sentinel("redis-ha-3", "CKQUORUM", "vuls"), 30, "no quorum")
        assert "role:slave" in hosts.cli("redis-ha-3", "INFO", "replication")
    finally:
        for host in ("redis-ha-1", "redis-ha-2"):
            run("docker", "unpause", host)
    eventually(lambda: hosts.sentinel("redis-ha-3", "CKQUORUM", "vuls").startswith("OK"), 60, "a quorum")
    eventually(lambda: hosts.is_in_step("redis-ha-3"), 60, "redis-ha-3 in step")


def test_a_primary_without_replicas_refuses_to_write(hosts: Hosts) -> None:
    primary = eventually(lambda: hosts.primary("redis-ha-3"), 30, "a primary")
    others = [host for host in HOSTS if host != primary]
    for host in others:
        run("docker", "exec", host, "systemctl", "stop", "redis-server")
    try:
        eventually(
            lambda: "NOREPLICAS" in hosts.cli(primary, "LPUSH", "scan.test", "x", user="operator"), 30, "NOREPLICAS"
        )
    finally:
        for host in others:
            run("docker", "exec", host, "systemctl", "start", "redis-server")
    eventually(lambda: hosts.cli(primary, "LPUSH", "scan.test", "x").isdigit(), 60, "writes again")
    hosts.cli(primary, "DEL", "scan.test")


def test_the_last_host_of_several_is_the_primary_and_has_no_sentinel(hosts: Hosts) -> None:
    """Its Sentinel would hold to what it knew of the hosts that are gone."""
    last = "redis-ha-3"
    for host in HOSTS:
        if host != last:
            run("docker", "exec", host, "systemctl", "stop", "redis-sentinel", "redis-server")
    one = ("-e", json.dumps({"redis_hosts": [last]}), "--limit", f"localhost,{last}")
    assert hosts.play(*one)["failed"] == 0
    assert "the only Redis host now, and its Sentinel was stopped and disabled" in hosts.said
    states = [
        subprocess.run(
            ["docker", "exec", last, "systemctl", question, "redis-sentinel"],
            capture_output=True, text=True, timeout=30, check=False,
        ).stdout.strip()
        for question in ("is-active", "is-enabled")
    ]  # fmt: skip
    assert states == ["inactive", "disabled"]
    assert "role:master" in hosts.cli(last, "INFO", "replication")
    assert hosts.play(*one)["changed"] == 0, hosts.last
