"""The story of the product: a click, a real scan, a toast with the right counts, no reload."""

import json

import httpx
import pytest
from playwright.sync_api import Page, expect

from . import stack
from .strike import containers

SEVERITIES = ("critical", "high", "medium", "low", "unknown")


def counts_of_the_result_file(scan_id: int) -> dict[str, int]:
    """Count the findings of the stored Vuls result itself, by Vuls' own rule, apart from the application's code."""
    result = json.loads(stack.sql(f"SELECT result FROM scan WHERE id = {scan_id}"))
    words = {
        "CRITICAL": 10.0,
        "IMPORTANT": 8.9,
        "HIGH": 8.9,
        "MODERATE": 6.9,
        "MEDIUM": 6.9,
        "LOW": 3.9,
        "NEGLIGIBLE": 3.9,
    }
    counts = dict.fromkeys(SEVERITIES, 0)
    for cve in result["scannedCves"].values():
        contents = [content for several in cve["cveContents"].values() for content in several]
        score = max((c.get("cvss40Score", 0) for c in contents), default=0)
        score = score or max(
            (
                max(
                    c.get("cvss3Score", 0),
                    words.get(c.get("cvss3Severity", "").upper(), 0) if not c.get("cvss3Score") else 0,
                )
                for c in contents
            ),
            default=0,
        )
        score = score or max((c.get("cvss2Score", 0) for c in contents), default=0)
        name = (
            "critical"
            if score >= 9
            else "high"
            if score >= 7
            else "medium"
            if score >= 4
            else "low"
            if score > 0
            else "unknown"
        )
        counts[name] += 1
    return counts


@pytest.mark.parametrize(("task_id", "host"), [(1, "vuls-target-1"), (2, "vuls-target-2")])
def test_a_click_on_run_ends_in_a_toast_with_the_counts_of_the_result(
    page: Page, admin: httpx.Client, task_id: int, host: str
) -> None:
    page.evaluate("window.notReloaded = true")
    row = page.locator(f"[data-task-id='{task_id}']")
    expect(row).to_contain_text(host)
    with page.expect_response(lambda r: r.url.endswith(f"/api/scheduled-tasks/{task_id}/run")) as clicked:
        row.get_by_role("button", name="Run").click()
    assert clicked.value.status == 202
    run_id = clicked.value.json()["id"]
    toast = page.locator(f".toast[data-run-id='{run_id}'][data-status='success']")
    expect(toast).to_be_visible(timeout=120_000)
    words = toast.inner_text()  # it leaves by itself, and never changes
    run = admin.get(f"/api/runs/{run_id}").json()
    data = run["result_data"]
    assert data["verdict"] == "assessed", data
    counts = counts_of_the_result_file(data["scan_id"])
    assert {name: data[name] for name in SEVERITIES} == counts
    assert data["vulnerabilities"] == sum(counts.values())
    assert data["vulnerabilities"] > 0, "the demo data finds something on both targets"
    assert str(data["vulnerabilities"]) in words
    activity = page.locator("#recent").locator(f"[data-run-id='{run_id}']")
    expect(activity).to_be_visible()
    expect(activity).to_contain_text(host)
    for name in SEVERITIES:
        if counts[name]:
            expect(activity).to_contain_text(str(counts[name]))
    assert page.evaluate("window.notReloaded") is True


def test_there_is_one_message_for_one_completion(admin: httpx.Client) -> None:
    run = stack.start_run(admin, 1)
    stack.finished(admin, run["id"])
    statuses = stack.sql(
        "SELECT data->>'status' FROM event"
        f" WHERE data->>'task_run_id' = '{run['id']}' AND type = 'task_update' ORDER BY seq"
    ).splitlines()
    assert statuses == ["queued", "started", "success"]


def test_the_stored_result_holds_no_configuration(admin: httpx.Client) -> None:
    run = stack.start_run(admin, 2)
    scan_id = stack.finished(admin, run["id"])["result_data"]["scan_id"]
    assert stack.sql(f"SELECT result ? 'config' FROM scan WHERE id = {scan_id}") == "f"


def test_nothing_of_a_scan_is_left_on_the_scan_host(admin: httpx.Client) -> None:
    run = stack.start_run(admin, 1)
    stack.finished(admin, run["id"])
    # A scan is stored as soon as its result is there, and cleared away behind that.
    stack.wait_until(lambda: not containers(), timeout=30, what="no container of the scan is left")
