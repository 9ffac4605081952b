"""The whole of inventories/production.example serves, scans both zones, is closed to all else, and survives losses."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest
from websockets.exceptions import WebSocketException

from tests import port_scan
from tests.e2e import stack
from tests.e2e.conftest import Feed

from . import site

RECOVERED = 120  # seconds within which all that was lost is replaced, on a busy machine


def test_every_instance_of_three_web_hosts_is_ready() -> None:
    stack.wait_until(lambda: site.ready() == site.INSTANCES, timeout=60, what="six instances that are ready")


def test_preflight_lets_the_live_site_through() -> None:
    given = [part for inventory in site.INVENTORIES[1:] for part in ("-i", inventory)]
    done = stack.ansible_playbook("playbooks/preflight.yml", *given, inventory=site.INVENTORIES[0])
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.parametrize("zone", site.SCANNED)
def test_a_scan_of_each_zone_is_the_work_of_its_own_scan_host(
    zone: str, admin: httpx.Client, feed: Callable[..., Feed]
) -> None:
    listener = feed()
    scanners = {name: stack.now(f"scan-{name}-1") for name in site.SCANNED}
    run = stack.start_run(admin, task_of(admin, site.SCANNED[zone]))
    told = listener.update(run["id"], "success", timeout=180)
    assert told["data"]["result_data"]["verdict"] == "assessed"
    steps = [m["data"] for m in listener.all_until_now() if m["type"] == "task_update"]
    assert [step["status"] for step in steps if step["task_run_id"] == run["id"]] == ["queued", "started", "success"]
    for name, since in scanners.items():
        lines = stack.journal(f"scan-{name}-1", f"vuls-worker@{name}", since)
        assert (f"task_run_id {run['id']}\n" in lines) is (name == zone), lines


def test_the_firewalls_let_through_what_the_table_says_and_nothing_else() -> None:
    hosts = (*site.OURS, *site.SCANNED.values())
    variable = partial(stack.variable, "lb-1")
    flows, tiers = (variable(name, *site.INVENTORIES) for name in ("vuls_flows", "groups"))
    allowed = port_scan.documented(flows, tiers, hosts)
    port_scan.assert_only(allowed, port_scan.scan(allowed, hosts, site.OURS), site.OURS)


@pytest.fixture
def losses() -> Iterator[list[str]]:
    """Freeze the balancer that has the address, Redis' primary and a web host, all at once, and bring them back."""
    lost = [stack.wait_until(site.holder, timeout=60, what="one balancer that has the address"), "web-1"]
    lost.append(site.redis_primary("redis-1"))
    with ExitStack() as back:
        for host in lost:
            stack.must(stack.run("docker", "pause", host))
            back.callback(stack.run, "docker", "unpause", host)
        yield lost


def test_scans_reach_browsers_when_a_balancer_a_web_host_and_redis_primary_are_lost_at_once(
    admin: httpx.Client, feed: Callable[..., Feed], losses: list[str]
) -> None:
    began = time.monotonic()
    stack.wait_until(partial(answers, admin), timeout=RECOVERED, what="the page answers again")
    stack.note("losses", "seconds until the page answers again", time.monotonic() - began)
    listener = stack.wait_until(partial(opened, feed), timeout=RECOVERED, what="a feed opens")
    left = next(host for host in site.REDIS if host not in losses)
    stack.wait_until(lambda: site.redis_primary(left) not in losses, timeout=RECOVERED, what="another primary")
    stack.note("losses", "seconds until another primary of Redis", time.monotonic() - began)
    for host in site.SCANNED.values():
        asked = partial(started, admin, task_of(admin, host))
        run = stack.wait_until(asked, timeout=RECOVERED, what="a run is accepted")
        told = listener.update(run["id"], "success", timeout=180)
        assert told["data"]["result_data"]["verdict"] == "assessed"
    stack.note("losses", "seconds until both zones are scanned", time.monotonic() - began)


def test_what_was_lost_is_part_of_the_site_again() -> None:
    stack.wait_until(lambda: site.ready() == site.INSTANCES, timeout=RECOVERED, what="six instances again")
    stack.wait_until(site.holder, timeout=RECOVERED, what="one balancer that has the address")
    stack.wait_until(
        lambda: len({site.redis_primary(host) for host in site.REDIS}) == 1,
        timeout=RECOVERED,
        what="Sentinels that agree on one primary",
    )


def task_of(admin: httpx.Client, host: str) -> int:
    (task,) = (task for task in admin.get("/api/scheduled-tasks").json()["items"] if task["host_name"] == host)
    return int(task["id"])


def answers(admin: httpx.Client) -> bool:
    try:
        return admin.get("/api/auth/me").is_success
    except httpx.TransportError:
        return False


def opened(feed: Callable[..., Feed]) -> Feed | None:
    try:
        return feed()
    except (OSError, TimeoutError, WebSocketException):
        return None


def started(admin: httpx.Client, task: int) -> dict[str, Any] | None:
    try:
        return stack.start_run(admin, task)
    except (AssertionError, httpx.TransportError):
        return None
