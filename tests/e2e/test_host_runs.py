"""A host's connection is tested and its packages are assessed again, on a real target, by a click and over the API."""

import re
import time

import httpx
from playwright.sync_api import Page, expect

from . import stack

HOST = 1
NAME = "vuls-target-1"


def logins() -> int:
    """Count how often the scanning user has logged in at the target."""
    stack.on(NAME, "journalctl", "--sync")  # what was said before is in it then
    journal = stack.must(stack.on(NAME, "journalctl", "--no-pager", "--unit", "ssh"))
    return journal.count("Accepted publickey for vuls")


def settled_logins() -> int:
    """Count them when the journal has told of all that there were: it lags behind the end of a scan."""
    found = logins()
    while True:
        time.sleep(3)
        if found == (found := logins()):
            return found


def test_a_click_tests_the_connection_and_scans_nothing(page: Page, admin: httpx.Client) -> None:
    scans, before = stack.sql("SELECT count(*) FROM scan"), settled_logins()
    row = page.locator("[data-task-id='1']")
    with page.expect_response(lambda answer: answer.url.endswith(f"/api/hosts/{HOST}/check")) as clicked:
        row.get_by_role("button", name=re.compile("^Test connection")).click()
    assert clicked.value.status == 202
    run_id = clicked.value.json()["id"]
    toast = page.locator(f".toast[data-run-id='{run_id}']")
    expect(toast).to_contain_text(f"Connection to {NAME} works.", timeout=120_000)
    run = admin.get(f"/api/runs/{run_id}").raise_for_status().json()
    assert (run["kind"], run["status"], run["result_data"]) == ("check", "success", {"kind": "check"})
    stack.wait_until(lambda: logins() > before, timeout=30, what="the check's login in the target's journal")
    assert stack.sql("SELECT count(*) FROM scan") == scans
    lines = [item["text"] for item in admin.get(f"/api/runs/{run_id}/log").raise_for_status().json()["items"]]
    assert any("Checking dependencies" in line for line in lines)


def test_packages_are_assessed_again_without_a_log_in_at_the_host(admin: httpx.Client) -> None:
    scanned = stack.finished(admin, stack.start_run(admin, 1)["id"])["result_data"]
    assert scanned["verdict"] == "assessed"
    before = settled_logins()
    answer = admin.post(f"/api/hosts/{HOST}/reassess")
    assert answer.status_code == 202, answer.text
    run = stack.finished(admin, answer.json()["id"])
    assert (run["kind"], run["status"]) == ("reassess", "success")
    counts = ("verdict", "vulnerabilities", "critical", "high", "medium", "low", "unknown")
    assert {name: run["result_data"][name] for name in counts} == {name: scanned[name] for name in counts}
    scan = admin.get(f"/api/scans/{run['result_data']['scan_id']}").raise_for_status().json()
    assert scan["packages_from_scan_id"] == scanned["scan_id"]
    assert scan["collected_at"] < scan["created_at"]
    assert scan["changes"]["new"]["total"] == scan["changes"]["fixed"]["total"] == 0
    assert settled_logins() == before
