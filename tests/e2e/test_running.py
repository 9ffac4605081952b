"""A real scan while it runs: how far it is, what its programs say, and an end to it by a click."""

import time

import httpx
import pytest
from playwright.sync_api import Page, expect

from . import stack
from .strike import containers, ends_of

CANCELLED = 5  # seconds from the click until nothing of the scan is left


@pytest.mark.parametrize(("task_id", "host"), [(1, "vuls-target-1"), (2, "vuls-target-2")])
def test_phases_and_log_are_seen_in_the_browser_before_the_end(
    page: Page, admin: httpx.Client, task_id: int, host: str
) -> None:
    page.evaluate(
        """() => {
            window.seen = [];
            new MutationObserver(() => {
                const row = document.querySelector("#running [data-run-id]");
                if (row) window.seen.push(row.textContent);
            }).observe(document.querySelector("#running"), {subtree: true, childList: true, characterData: true});
        }"""
    )
    run = stack.start_run(admin, task_id)
    row = page.locator(f"#running [data-run-id='{run['id']}']")
    expect(row).to_be_visible()
    page.get_by_role("button", name=f"Log of Scan {host}").click()
    expect(page.get_by_role("log")).to_contain_text("Start scanning", timeout=30_000)
    expect(page.locator(f".toast[data-run-id='{run['id']}'][data-status='success']")).to_have_count(1, timeout=120_000)
    seen = " ".join(page.evaluate("window.seen"))
    phases = [words for words in ("Connecting", "Collecting packages", "Matching") if words in seen]
    assert phases, f"no phase was seen: {seen[-2000:]}"
    log = admin.get(f"/api/runs/{run['id']}/log").raise_for_status().json()
    lines = [item["text"] for item in log["items"]]
    assert log["next"] is None
    assert sum("Start scanning" in line for line in lines) == 1
    assert any("CVEs detected" in line for line in lines), "the report's words are there too"
    assert not any("\x1b" in line for line in lines)


def test_a_click_on_cancel_ends_the_scan_everywhere(page: Page, admin: httpx.Client) -> None:
    before = stack.sql("SELECT count(*) FROM scan")
    run = stack.start_run(admin, 1)
    stack.wait_until(containers, timeout=60, what="the container of the scan", interval=0.1)
    began = time.monotonic()
    page.get_by_role("button", name="Cancel Scan vuls-target-1").click()
    expect(page.locator(f"#recent [data-run-id='{run['id']}']")).to_contain_text("Cancelled", timeout=CANCELLED * 1000)
    left = max(0.1, began + CANCELLED - time.monotonic())
    stack.wait_until(lambda: not containers(), timeout=left, what="no container is left")
    assert ends_of(run["id"]) == ["cancelled"]
    assert stack.sql("SELECT count(*) FROM scan") == before
    again = stack.start_run(admin, 1)
    assert stack.finished(admin, again["id"])["status"] == "success", "the next one is as ever"
