"""Every command and log line that DESIGN documents for the local stack works word for word."""

import json
import os
import pty
import shlex
import subprocess
import termios
from collections.abc import Callable
from contextlib import suppress

import httpx
from playwright.sync_api import Page, expect

from . import stack
from .conftest import Feed, Users

SEND = (
    'docker exec vuls-worker uv run python -c "from app.tasks.scan_tasks import send_task_notification; '
    "send_task_notification(999, 888, 'success', 'Test Notification', {'test': 'data'})\""
)
SCAN = (
    'docker exec vuls-worker uv run python -c "from app.tasks.scan_tasks import run_vulnerability_scan; '
    "print(run_vulnerability_scan(host_id=2, scan_type='fast', task_run_id=999))\""
)
ENVELOPE = {
    "type": "task_update",
    "data": {
        "task_id": 0,
        "task_run_id": 15,
        "status": "success",
        "task_name": "Scan anisette_v3",
        "result_data": {
            "scan_id": 23, "verdict": "assessed", "vulnerabilities": 9,
            "critical": 2, "high": 2, "medium": 3, "low": 1, "unknown": 1,
        },
        "timestamp": "2025-06-27T15:49:26.760966",
    },
}  # fmt: skip


class Terminal:
    """A program on a terminal of its own, as a person has it."""

    def __init__(self, command: str) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 200))
        self.process = subprocess.Popen(shlex.split(command), stdin=slave, stdout=slave, stderr=slave, close_fds=True)
        os.close(slave)
        os.set_blocking(self.master, False)
        self.text = ""

    def expect(self, word: str, timeout: float = 60) -> None:
        """Wait until the terminal shows `word`."""

        def probe() -> bool:
            with suppress(BlockingIOError, OSError):
                self.text += os.read(self.master, 65536).decode(errors="replace")
            return word in self.text

        stack.wait_until(probe, timeout=timeout, what=f"{word!r} on the terminal, which shows {self.text!r}")

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self.master, line.encode() + b"\r")

    def close(self) -> None:
        """Hang up."""
        self.process.terminate()
        self.process.wait(60)
        os.close(self.master)


def documented(command: str, timeout: float = 120) -> str:
    """Run a documented command line as it is written."""
    return stack.must(stack.run(*shlex.split(command), timeout=timeout))


def test_a_test_notification_gets_a_row_and_a_toast_in_every_open_browser(
    page: Page, feed: Callable[..., Feed], admin: httpx.Client
) -> None:
    before = int(stack.sql("SELECT coalesce(max(seq), 0) FROM event"))
    other = feed(admin)
    documented(SEND)
    expect(page.locator(".toast[data-run-id='888']").first).to_contain_text("Test Notification")
    row = stack.sql(
        "SELECT seq, data->>'task_id', data->>'task_name' FROM event"
        f" WHERE seq > {before} AND data->>'task_run_id' = '888'"
    )
    sequence, task_id, name = row.split("|")
    assert (task_id, name) == ("999", "Test Notification")
    message = other.update(888, "success")
    assert message["id"].endswith(f"-{sequence}")
    assert message["data"]["result_data"] == {"test": "data"}


def test_a_scan_by_hand_blocks_and_prints_its_result() -> None:
    printed = documented(SCAN)
    assert "'status': 'success'" in printed or "'verdict':" in printed, printed
    status, verdict = stack.sql("SELECT status, result_data->>'verdict' FROM run WHERE id = 999").split("|")
    assert status == "success"
    assert verdict in {"assessed", "not_assessed"}


def test_a_finished_run_is_run_again_as_a_new_attempt() -> None:
    documented(SCAN)
    first = int(stack.sql("SELECT attempt FROM run WHERE id = 999"))
    documented(SCAN)
    assert int(stack.sql("SELECT attempt FROM run WHERE id = 999")) == first + 1


def test_redis_cli_subscribes_and_monitors_without_options() -> None:
    subscriber, monitor = (
        Terminal("docker exec -it vuls-redis redis-cli"),
        Terminal("docker exec -it vuls-redis redis-cli"),
    )
    try:
        for terminal in (subscriber, monitor):
            terminal.expect("6379>")
        subscriber.type("SUBSCRIBE task_notifications")
        subscriber.expect("subscribe")
        monitor.type("MONITOR")
        monitor.expect("OK")
        documented(SEND)
        subscriber.expect("Test Notification")
        monitor.expect("PUBLISH")
    finally:
        subscriber.close()
        monitor.close()


def test_the_worker_host_reaches_redis() -> None:
    assert documented("docker exec vuls-worker redis-cli -h vuls-redis ping").strip() == "PONG"


def test_an_envelope_published_by_hand_reaches_an_administrator_and_no_viewer(
    page: Page, feed: Callable[..., Feed], admin: httpx.Client, users: Users
) -> None:
    viewer_feed = feed(users.make("e2e-viewer", "viewer"))
    admin_feed = feed(admin)
    before = stack.sql("SELECT count(*) FROM event")
    stack.must(stack.on("vuls-redis", "redis-cli", "PUBLISH", "task_notifications", json.dumps(ENVELOPE)))
    message = admin_feed.update(15, "success")
    assert message["data"] == ENVELOPE["data"]
    assert "id" not in message
    expect(page.locator(".toast[data-run-id='15']").first).to_contain_text("Scan anisette_v3")
    assert stack.sql("SELECT count(*) FROM event") == before
    assert [message for message in viewer_feed.all_until_now() if message["type"] == "task_update"] == []


def test_the_inventorys_hosts_have_their_numbers_and_the_systems_own_begin_at_a_million(admin: httpx.Client) -> None:
    hosts = {host["id"]: host["name"] for host in admin.get("/api/hosts").json()["items"]}
    assert (hosts[1], hosts[2]) == ("vuls-target-1", "vuls-target-2")
    tasks = {task["id"]: task["host_id"] for task in admin.get("/api/scheduled-tasks").json()["items"]}
    assert (tasks[1], tasks[2]) == (1, 2)
    made = admin.post("/api/scheduled-tasks", json={"name": "by hand only", "host_id": 1})
    assert made.status_code == 201, made.text
    admin.delete(f"/api/scheduled-tasks/{made.json()['id']}").raise_for_status()
    assert made.json()["id"] >= 1_000_000


def test_health_answers_to_curl_with_the_ca_of_the_stack() -> None:
    answer = documented(f"curl --cacert .local/ca.crt -f https://localhost:{stack.PORT}/health")
    assert json.loads(answer)["status"] == "ok"


def test_the_socket_is_open_in_the_browsers_console(page: Page) -> None:
    assert page.evaluate("window.ws.readyState") == 1


def test_the_containers_logs_show_the_documented_lines(feed: Callable[..., Feed], admin: httpx.Client) -> None:
    feed(admin)
    documented(SEND)
    run = stack.start_run(admin, 1)
    stack.finished(admin, run["id"])

    def shows(host: str, line: str) -> Callable[[], bool]:
        def probe() -> bool:
            result = stack.run("docker", "logs", "--tail", "2000", host)
            return line in result.stdout + result.stderr

        return probe

    published = f"Published task notification: success for task_run_id {run['id']}"
    for host, line in (
        ("vuls-worker", published),
        ("vuls-web-1", "Redis notification subscriber started"),
        ("vuls-web-1", "Forwarded notification to WebSocket clients: success"),
    ):
        stack.wait_until(shows(host, line), timeout=60, what=f"{line!r} in the log of {host}")
