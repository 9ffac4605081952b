"""The host of the Redis primary is lost: every event reaches every client once, and every run ends."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest

from tests.e2e import stack
from tests.e2e.conftest import Feed
from tests.runbooks import run_page

HOSTS = ("vuls-redis", "vuls-redis-2", "vuls-redis-3")
ANSWER = 60  # seconds that the whole may take to go on


def sentinel(asked: str, *command: str) -> str:
    """Return what the Sentinel of a host answers its operator."""
    password = (stack.LOCAL / "secrets/redis_operator").read_text().strip()
    argv = ["/usr/bin/redis-cli", "--tls", "--cacert", "/etc/vuls/pki/ca.crt", "-h", asked, "-p", "26379"]
    done = stack.on(asked, *argv, stdin=f"AUTH operator {password}\nSENTINEL {' '.join(command)}\n", timeout=20)
    return done.stdout.partition("\n")[2].strip()


def primary(asked: str) -> str:
    """Return which host the Sentinel of `asked` names."""
    return sentinel(asked, "GET-MASTER-ADDR-BY-NAME", "vuls").partition("\n")[0]


def agreed() -> str | None:
    """Return the primary that all Sentinels name, if they do and have a quorum."""
    named = {primary(host) for host in HOSTS}
    whole = all(sentinel(host, "CKQUORUM", "vuls").startswith("OK 3") for host in HOSTS)
    return named.pop() if whole and len(named) == 1 else None


def replicas_follow() -> bool:
    """Whether the Sentinel that the page asks has seen all replicas of the primary follow it."""
    return sentinel(HOSTS[0], "REPLICAS", "vuls").count("master-link-status\nok") == len(HOSTS) - 1


def woken() -> bool:
    """Whether every instance hears its own heartbeat through the channel."""
    return all("vuls_redis_connected 1" in stack.metrics(host, number) for host in stack.WEB_HOSTS for number in (1, 2))


@pytest.fixture
def lost_host() -> Iterator[tuple[str, str]]:
    """Freeze the primary's host; yields it and one that is left, and brings it back."""
    old = stack.wait_until(agreed, timeout=90, what="Sentinels that agree")
    left = next(host for host in HOSTS if host != old)
    stack.must(stack.run("docker", "pause", old))
    try:
        yield old, left
    finally:
        stack.must(stack.run("docker", "unpause", old))
        stack.wait_until(agreed, timeout=90, what="Sentinels that agree again")


def test_scans_and_events_go_on_without_the_primary(
    admin: httpx.Client,
    feed: Callable[..., Feed],
    lost_host: tuple[str, str],
    record_property: Callable[[str, object], None],
) -> None:
    old, left = lost_host
    listener = feed(admin)
    began = time.monotonic()
    # One run is clicked before anybody can have noticed, one in the middle, one when there is another primary.
    runs = [stack.start_run(admin, 1)]
    stack.wait_until(lambda: primary(left) not in ("", old), timeout=ANSWER, what="another primary")
    elected = time.monotonic() - began
    runs.append(stack.start_run(admin, 2))
    stack.wait_until(woken, timeout=ANSWER, what="instances that are woken again")
    record_property("seconds until another primary", elected)
    record_property("seconds until all instances are woken again", time.monotonic() - began)
    for run in runs:
        ended = stack.finished(admin, run["id"], timeout=180)
        assert (ended["status"], ended["attempt"]) == ("success", 1)

    def told(run_id: int) -> list[str]:
        updates = [message["data"] for message in listener.all_until_now() if message["type"] == "task_update"]
        return [update["status"] for update in updates if update["task_run_id"] == run_id]

    def ended_for(run_id: int) -> bool:
        return "success" in told(run_id)

    for run in runs:  # which of them ends first is nobody's business
        stack.wait_until(partial(ended_for, run["id"]), timeout=20, what=f"word of run {run['id']}")
        assert told(run["id"]) == ["queued", "started", "success"]


def test_the_shortcut_and_vulsctl_find_the_primary(lost_host: tuple[str, str]) -> None:
    old, left = lost_host
    stack.wait_until(lambda: primary(left) not in ("", old), timeout=ANSWER, what="another primary")
    for host in (left, "vuls-worker"):
        assert "PONG" in stack.must(stack.on(host, "redis-cli", "ping"))
    assert "role:master" in stack.must(stack.on(left, "redis-cli", "INFO", "replication"))
    assert "away" not in stack.must(stack.on("vuls-worker", "vulsctl", "status"))


def test_the_commands_of_the_runbook_work_one_after_the_other() -> None:
    before = stack.wait_until(agreed, timeout=90, what="Sentinels that agree")
    assert before
    stack.wait_until(woken, timeout=ANSWER, what="instances that are woken")
    # Right after another failover the Sentinel refuses, as the page says.
    stack.wait_until(replicas_follow, timeout=ANSWER, what="replicas that the Sentinel has looked at")
    run_page("docs/operations/redis-failover.md", timeout=120)
    # They agree on the old one until the new one is chosen.
    stack.wait_until(lambda: agreed() not in (None, before), timeout=90, what="Sentinels that agree on another one")
