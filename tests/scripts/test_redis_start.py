"""What the files of Redis are tried with, and whom a Redis follows when it starts."""

import os
import subprocess
from pathlib import Path

import jinja2
import pytest

from .ansible import ROOT

ROLE = ROOT / "roles/redis"
# A Redis that is asked for its primary; which Sentinel answers what lies in a file of its name.
CLI = """#!/bin/sh
while [ "$1" != -h ]; do shift; done
[ -e "{place}/$2" ] || exit 1
read -r epoch host <"{place}/$2"
printf '%s\\n' config-epoch "$epoch" ip "$host" port 6379
"""
HOSTS = ["redis-1", "redis-2", "redis-3"]


def chosen(place: Path, mode: str, answers: dict[str, str], remembered: str) -> str:
    """Run the script on redis-2; returns what it says. Answers and memory are "EPOCH HOST"."""
    sentinel = {"name": "sentinel"}
    given = {"redis_hosts": HOSTS, "redis_own_address": "redis-2", "redis_port": 6379, "redis_sentinel_port": 26379}
    names = {
        "redis_sentinel_primary": "vuls",
        "__redis_sentinel_live": place / "live",
        "__redis_sentinel_peer": sentinel,
    }
    script = jinja2.Template((ROLE / "templates/start.j2").read_text()).render(**given, **names, redis_tls_ca_file="ca")
    (place / "start").write_text(script.replace("/etc/redis", str(place)).replace("/run/redis", str(place / "run")))
    (place / "run").mkdir()
    for name in ("redis.conf", "replication.conf"):
        (place / name).touch()
    (place / "sentinel.conf").write_text("sentinel monitor vuls redis-1 6379 2\n")
    if remembered:
        epoch, host = remembered.split()
        (place / "live").write_text(f"sentinel monitor vuls {host} 6379 2\nsentinel config-epoch vuls {epoch}\n")
    for name, answer in answers.items():
        (place / name).write_text(answer + "\n")
    (place / "bin").mkdir()
    (place / "bin/redis-cli").write_text(CLI.format(place=place))
    (place / "bin/redis-cli").chmod(0o755)
    path = {"PATH": f"{place}/bin:{os.environ['PATH']}"}
    line = ["sh", str(place / "start"), mode]
    return subprocess.run(line, env=path, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("answers", "remembered", "follows"),
    [
        ({"redis-1": "2 redis-1", "redis-3": "3 redis-3"}, "", "redis-3"),
        # After a power loss one that slept through the last failover is back first.
        ({"redis-1": "2 redis-1"}, "10 redis-3", "redis-3"),
        ({"redis-1": "11 redis-1"}, "10 redis-3", "redis-1"),
        ({}, "4 redis-3", "redis-3"),
        # A host that left the inventory is no primary.
        ({"redis-1": "12 gone"}, "10 redis-3", "redis-3"),
        ({}, "4 gone", "redis-1"),
        ({}, "", "redis-1"),
    ],
)
def test_a_redis_follows_the_newest_that_anybody_knows(
    tmp_path: Path, answers: dict[str, str], remembered: str, follows: str
) -> None:
    assert chosen(tmp_path, "server", answers, remembered) == f"starting as a replica of {follows} 6379"


def test_a_redis_that_was_made_the_primary_is_it_again(tmp_path: Path) -> None:
    assert chosen(tmp_path, "server", {"redis-1": "2 redis-1"}, "10 redis-2") == "starting as the primary"


def test_a_sentinel_goes_on_with_what_it_wrote_down(tmp_path: Path) -> None:
    assert chosen(tmp_path, "sentinel", {"redis-1": "12 redis-1"}, "10 redis-3") == "watching redis-3 6379"


@pytest.mark.parametrize("check", ["acl", "settings", "sentinel"])
def test_a_file_is_tried_without_the_port_that_the_running_one_has(check: str) -> None:
    tried = (ROLE / "vars/main.yml").read_text().partition(f"__redis_check_{check}: ")[2].partition("\n__redis")[0]
    assert "redis-server" in tried
    assert " --port 0 " in tried
