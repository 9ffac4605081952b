"""One host of 2 GiB scans, and serves 1,000 sockets meanwhile."""

import asyncio
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import httpx
import pytest

from tests import environment
from tests.e2e.stack import finished, must, on, run, shell, wait_until

from . import host

SOCKETS = 1000
CONTAINERS = "-i inventories/mine -i molecule/shared/inventory -i molecule/single/inventory"


@pytest.fixture(scope="module")
def session() -> Iterator[httpx.Client]:
    with closing(host.signed_in()) as client:
        yield client


def test_the_host_has_two_gibibytes_and_knows_it() -> None:
    assert host.group().limit == host.LIMIT_MIB * 1024 * 1024


def test_only_the_page_and_ssh_listen_for_other_hosts() -> None:
    lines = shell(host.NAME, "ss -Hltn").splitlines()
    assert lines
    addresses = {line.split()[3] for line in lines}
    others = {a.rpartition(":")[2] for a in addresses if not a.startswith(("127.", "[::1]"))}
    # 127.0.0.11 is the engine's own resolver.
    assert others <= {"443", "22"}, addresses
    assert {"127.0.0.1:6379", "127.0.0.1:5432"} <= addresses


def test_nginx_speaks_to_the_instances_sockets_itself() -> None:
    config = must(on(host.NAME, "cat", "/etc/nginx/nginx.conf"))
    assert "server unix:/run/vuls-web-1/http.sock" in config
    # With the colon: the names of routes are hashes, and one of them may have these digits.
    assert not re.search(r":844\d", config), "there are no TLS ports of instances"
    assert not must(on(host.NAME, "sh", "-c", "ls /etc/nginx/modules-enabled")).strip(), "no stream module is needed"


def test_a_thousand_sockets_hear_of_a_scan_within_the_limit(session: httpx.Client) -> None:
    before = host.memory_by_unit()

    async def story() -> tuple[dict[str, int], list[str]]:
        crowd = host.Crowd(session)
        try:
            await crowd.join(SOCKETS)
            started = await asyncio.to_thread(session.post, "/api/scheduled-tasks/1/run")
            assert started.status_code == 202, started.text
            run_id: int = started.json()["id"]
            run = await asyncio.to_thread(finished, session, run_id, 300)
            assert run["status"] == "success", run
            wanted = [(run_id, status) for status in ("queued", "started", "success")]

            def late() -> int:
                return sum([update for update in told if update[0] == run_id] != wanted for told in crowd.told)

            told_all = partial(
                wait_until, lambda: late() == 0, timeout=60, what=f"all {SOCKETS} are told each step once, in order"
            )
            await asyncio.to_thread(told_all)
            meanwhile = await asyncio.to_thread(host.memory_by_unit)
            return meanwhile, list(crowd.problems)
        finally:
            await crowd.leave()

    during, problems = asyncio.run(story())
    group = host.group()
    # The figures of docs/scaling.md.
    rows = [f"{'part':24} {'before':>7} {'1,000 sockets':>14}  (MiB, PSS)"]
    names = [*sorted(before | during, key=lambda part: -during.get(part, 0))]
    rows += [f"{name:24} {before.get(name, 0):7} {during.get(name, 0):14}" for name in names]
    rows += [f"{'all':24} {sum(before.values()):7} {sum(during.values()):14}"]
    rows += [f"with the page cache: at most {group.peak // 2**20} MiB of {group.limit // 2**20}"]
    sys.stdout.write("\n" + "\n".join(rows) + "\n")
    assert problems == []
    assert group.killed == 0, "the kernel ended a process for lack of memory"
    assert sum(during.values()) < host.LIMIT_MIB * 0.8, "no room is left for the page cache and a second scan"


@pytest.fixture
def copied_inventory() -> Iterator[None]:
    yield
    shutil.rmtree(host.ROOT / "inventories/mine", ignore_errors=True)


@pytest.mark.usefixtures("copied_inventory")
def test_the_commands_of_the_page_work_one_after_the_other() -> None:
    """What the page says in words to fill in, the story's own inventory does."""
    page = (host.ROOT / "docs/operations/first-deployment.md").read_text()
    commands = [line.removeprefix("$ ") for line in page.splitlines() if line.startswith("$ ")]
    assert [command.split()[0] for command in commands] == ["cp", *["ansible-playbook"] * 3]
    for command in commands:
        filled_in = command.replace("-i inventories/mine", CONTAINERS)
        line = f". .venv/bin/activate; {filled_in}"
        done = must(run("bash", "-c", line, timeout=900, env=environment.of_the_checkout()))
        assert "failed=0" in done or command.startswith("cp")
        assert not re.search(r"changed=[1-9]", done), "it is the same deployment"
