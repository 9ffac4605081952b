"""Web hosts, scan hosts and zones are added and removed as their pages say, while people and scans go on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.runbooks import run_page
from tests.scripts.ansible import copied

from . import stack

pytestmark = pytest.mark.long

WEB, NEW, ZONE, TARGET = "vuls-web-2", "vuls-lab", "lab", "vuls-target-2"
TASK = 2
DEPLOYMENT = 1500  # seconds that a command of these pages may take


class Inventory:
    """A copy of the stack's inventory that a test changes as a reader of the page does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.replace = {"inventories/local": str(path)}

    def change(self, file: str, *changes: tuple[str, str]) -> None:
        """Replace words of a file, each of which has to be there."""
        text = (self.path / file).read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        (self.path / file).write_text(text)


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    yield Inventory(copied("local", tmp_path_factory.mktemp("come-and-go")))
    # Whatever happened: what comes after this finds the stack as it was.
    stack.must(stack.ansible_playbook("site.yml", timeout=DEPLOYMENT))


@contextmanager
def pages_meanwhile(session: httpx.Client) -> Iterator[list[str]]:
    """Ask for a page again and again; yields the answers that were none."""
    stop, failed = threading.Event(), list[str]()

    def ask() -> None:
        with stack.client(cookies=dict(session.cookies)) as visitor:
            while not stop.wait(0.1):
                try:
                    answer = visitor.get("/api/hosts")
                except httpx.HTTPError as error:
                    failed.append(repr(error))
                else:
                    failed.extend([] if answer.is_success else [f"{answer.status_code} {answer.text}"])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield failed
    finally:
        stop.set()
        thread.join()


def named_by_the_balancer(host: str) -> bool:
    return host in stack.must(stack.on("vuls-lb", "cat", "/etc/nginx/nginx.conf"))


def test_a_web_host_is_removed_and_added_and_nobody_notices(inventory: Inventory, admin: httpx.Client) -> None:
    there = f"            {WEB}:\n"
    before = (inventory.path / "hosts.yml").read_text()
    with pages_meanwhile(admin) as failed:
        inventory.change("hosts.yml", (there, ""))
        run_page("docs/operations/web-hosts.md", "Steps: remove", replace=inventory.replace, timeout=DEPLOYMENT)
        assert not named_by_the_balancer(WEB)
        assert stack.on(WEB, "vulsctl", "status").returncode, "nothing answers there"
        assert not stack.shell(WEB, "ss -Hltn sport ge :8441 and sport le :8449").strip()

        (inventory.path / "hosts.yml").write_text(before)
        run_page("docs/operations/web-hosts.md", "Steps: add", replace=inventory.replace, timeout=DEPLOYMENT)
        assert named_by_the_balancer(WEB)
        run_page("docs/operations/web-hosts.md", "How you know that it worked")
        # The balancer sends to it: a client whose cookie names it is answered by it.
        stack.start_instance(f"{WEB}:1")
    assert not failed


@pytest.fixture
def new_host() -> Iterator[None]:
    """A bare host with a Docker engine."""
    label = stack.must(
        stack.run("docker", "inspect", "--format", '{{index .Config.Labels "vuls-live.stack"}}', "vuls-worker")
    ).strip()
    create = ("scripts/stack.sh", "create", "--label", label, "--hosts", f"{NEW}:bookworm:engine")
    stack.must(stack.run(*create, timeout=120))
    yield
    stack.must(stack.run("docker", "rm", "--force", "--volumes", NEW))


def scanned_by(session: httpx.Client) -> str:
    """Scan the target of the task and return the host that did it."""
    run = stack.start_run(session, TASK)
    ended = stack.finished(session, run["id"])
    assert ended["status"] == "success", ended

    def named() -> str | None:
        for host in ("vuls-worker", NEW):
            said = stack.on(host, "journalctl", "--no-pager", "-o", "cat", "-u", "vuls-worker@*").stdout
            if f"task_run_id {run['id']}\n" in said:
                return host
        return None

    return stack.wait_until(named, timeout=30, what=f"a worker whose journal names run {run['id']}")


@pytest.mark.usefixtures("new_host")
def test_a_zone_and_its_scan_host_are_added_and_removed(inventory: Inventory, admin: httpx.Client) -> None:
    of_new = {**inventory.replace, "vuls-worker ": f"{NEW} ", ",vuls-worker'": f",{NEW}'", "@default": f"@{ZONE}"}
    zones, target = inventory.path / "group_vars/all/zones.yml", inventory.path / f"host_vars/{TARGET}.yml"
    hosts, in_default = (inventory.path / "hosts.yml").read_text(), target.read_text()
    assert "vuls-worker" in "".join(run_page("docs/operations/zones.md", "Before you start", replace=inventory.replace))

    # The zone, with its scan host and a target that moves into it.
    line = "            vuls-worker:\n"
    inventory.change("hosts.yml", (line, f"{line}            {NEW}: {{vuls_zone: {ZONE}}}\n"))
    zones.write_text(f"vuls_zones: [default, {ZONE}]\n")
    target.write_text(f"{in_default}vuls_zone: {ZONE}\n")
    run_page("docs/operations/zones.md", "Steps: add a zone", replace=inventory.replace, timeout=DEPLOYMENT)
    run_page("docs/operations/zones.md", "How you know that it worked", replace=of_new)
    assert scanned_by(admin) == NEW

    # The scan host goes, and comes back as one more of a zone that is there.
    run_page("docs/operations/zones.md", "Steps: remove a scan host", replace=of_new)
    assert stack.on(NEW, "test", "-e", "/etc/vuls").returncode == 1
    run_page("docs/operations/zones.md", "Steps: add a scan host", replace=of_new, timeout=DEPLOYMENT)
    assert scanned_by(admin) == NEW

    # The target moves back, and the zone goes.
    target.write_text(in_default)
    run_page("docs/operations/scan-hosts.md", "Steps: add or refresh", replace=inventory.replace, timeout=DEPLOYMENT)
    run_page("docs/operations/zones.md", "Steps: remove a scan host", replace=of_new)
    (inventory.path / "hosts.yml").write_text(hosts)
    zones.unlink()
    run_page(
        "docs/operations/zones.md",
        "Steps: remove a zone",
        replace={**inventory.replace, "NAME": ZONE},
        timeout=DEPLOYMENT,
    )
    assert f"worker-{ZONE}" not in stack.must(stack.on("vuls-redis", "cat", "/etc/redis/users.acl"))
    assert not stack.sql(f"SELECT rolname FROM pg_roles WHERE rolname = 'vuls_worker_{ZONE}'")
    assert not list((stack.LOCAL / "secrets").rglob(f"*_{ZONE}*"))
    assert scanned_by(admin) == "vuls-worker"
