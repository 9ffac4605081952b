"""What cannot be scanned says so in a sentence, and never shows a zero."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Page, expect

from . import stack

COUNTS = ("vulnerabilities", "critical", "high", "medium", "low", "unknown")


@contextmanager
def sshd_stopped() -> Iterator[None]:
    stack.shell("vuls-target-1", "systemctl stop ssh.service ssh.socket 2>/dev/null || systemctl stop ssh.service")
    try:
        yield
    finally:
        stack.shell("vuls-target-1", "systemctl start ssh.service")


@contextmanager
def moved_aside(path: str) -> Iterator[None]:
    stack.shell("vuls-worker", f"mv {path} {path}.aside")
    try:
        yield
    finally:
        stack.shell("vuls-worker", f"rm -rf {path}; mv {path}.aside {path}")


@contextmanager
def unknown_host_key() -> Iterator[None]:
    path = "/etc/vuls/executor/ssh/known_hosts"
    stack.shell("vuls-worker", f"cp -a {path} {path}.aside; grep -v vuls-target-1 {path}.aside > {path} || true")
    try:
        yield
    finally:
        stack.shell("vuls-worker", f"mv {path}.aside {path}")


@contextmanager
def database_missing() -> Iterator[None]:
    with moved_aside(
        "/var/lib/vuls-executor/db/" + stack.shell("vuls-worker", "ls /var/lib/vuls-executor/db | head -1").strip()
    ):
        yield


@pytest.mark.parametrize(
    ("trouble", "status", "words"),
    [
        (sshd_stopped, "failed", ("vuls-target-1", "reach")),
        (unknown_host_key, "failed", ("host key", "scan_hosts")),
    ],
    ids=["target down", "unknown host key"],
)
def test_a_scan_that_cannot_be_done_fails_with_a_sentence(
    page: Page, admin: httpx.Client, trouble: object, status: str, words: tuple[str, ...]
) -> None:
    with trouble():  # type: ignore[operator]
        run = stack.start_run(admin, 1)
        ended = stack.finished(admin, run["id"])
    data = ended["result_data"]
    assert ended["status"] == status
    assert data["verdict"] == "failed"
    assert all(data[name] is None for name in COUNTS), data
    sentence = data["reason"]["sentence"]
    assert all(word.lower() in sentence.lower() for word in words), sentence
    toast = page.locator(f".toast[data-run-id='{run['id']}'][data-status='failed']")
    expect(toast).to_be_visible()
    expect(toast).not_to_contain_text("0 vulnerabilities")
    expect(page.locator("#recent").locator(f"[data-run-id='{run['id']}']")).to_contain_text(sentence[:40])


def test_without_a_database_a_scan_is_not_assessed_and_shows_no_zero(page: Page, admin: httpx.Client) -> None:
    with database_missing():
        run = stack.start_run(admin, 1)
        ended = stack.finished(admin, run["id"])
    data = ended["result_data"]
    assert (ended["status"], data["verdict"]) == ("success", "not_assessed"), data
    assert all(data[name] is None for name in COUNTS)
    assert "database" in data["reason"]["sentence"]
    row = page.locator("#recent").locator(f"[data-run-id='{run['id']}']")
    expect(row).to_contain_text("Not assessed")
    expect(row).not_to_contain_text("0 vulnerabilities")


def test_an_invented_id_on_the_channel_moves_no_cursor_and_shows_nothing(page: Page, admin: httpx.Client) -> None:
    head = admin.get("/api/overview").json()["cursor"]
    epoch, _, sequence = head.partition("-")
    forged = f"{epoch}-{int(sequence) + 1_000_000}"
    envelope = (
        f'{{"type": "task_update", "id": "{forged}", "data": {{"task_id": 0, "task_run_id": 6660, "status": "success", '
        '"task_name": "Forged", "result_data": {}, "timestamp": "2026-01-01T00:00:00.000000"}}'
    )
    stack.must(stack.on("vuls-redis", "redis-cli", "PUBLISH", "task_notifications", envelope))
    run = stack.start_run(admin, 2)
    stack.finished(admin, run["id"])
    expect(page.locator(f".toast[data-run-id='{run['id']}'][data-status='success']")).to_be_visible()
    assert page.locator(".toast[data-run-id='6660']").count() == 0
    after = admin.get("/api/overview").json()["cursor"]
    assert int(sequence) < int(after.partition("-")[2]) < int(sequence) + 1000


@pytest.mark.parametrize("rubbish", ["", "{", "[]", "null", '{"type": 1}', "\x00\xff", "x" * 100_000])
def test_rubbish_on_the_channel_harms_nobody(page: Page, rubbish: str) -> None:
    stack.must(stack.on("vuls-redis", "redis-cli", "-x", "PUBLISH", "task_notifications", stdin=rubbish))
    assert page.evaluate("window.ws.readyState") == 1
    for host in stack.WEB_HOSTS:
        for number in (1, 2):
            assert stack.on(host, "systemctl", "is-active", f"vuls-web@{number}").stdout.strip() == "active"
