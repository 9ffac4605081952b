"""A newer database of vulnerabilities brings and takes findings, as one event; a host that is down changes nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from . import stack
from .conftest import Feed
from .test_failures import sshd_stopped

DATABASES = stack.ROOT / "tests/data/vuls/demo-db"
REPLACE = "/opt/vuls-executor/current/venv/bin/vuls-database"
NEW, FIXED = ["CVE-2099-0011", "CVE-2099-0012"], ["CVE-2099-0009"]


def install(name: str) -> None:
    """Put one of the two databases in place, as the page of operators says."""
    stack.must(stack.run("docker", "cp", str(DATABASES / name), f"vuls-worker:/root/{name}"))
    stack.must(stack.on("vuls-worker", REPLACE, "install", f"/root/{name}"))
    stack.must(stack.on("vuls-worker", "rm", f"/root/{name}"))


@contextmanager
def newer_database() -> Iterator[None]:
    install("next.db")
    try:
        yield
    finally:
        install("base.db")


def scan(admin: httpx.Client) -> dict[str, Any]:
    ended: dict[str, Any] = stack.finished(admin, stack.start_run(admin, 1)["id"])
    return ended


def changes(feed: Feed, admin: httpx.Client) -> list[dict[str, Any]]:
    """Return what the feed told of changed findings of the host up to now."""
    cursor = admin.get("/api/overview").json()["cursor"]
    return [m["data"] for m in feed.all_until(cursor) if m["type"] == "findings_changed"]


@pytest.fixture
def as_before(admin: httpx.Client) -> Iterator[None]:
    """Begin and end with the findings of the database that the deployment brought."""
    assert scan(admin)["result_data"]["verdict"] == "assessed"
    yield
    assert scan(admin)["result_data"]["verdict"] == "assessed"


@pytest.mark.usefixtures("as_before")
def test_a_newer_database_brings_two_findings_and_takes_one_whatever_failed_in_between(
    page: Page, admin: httpx.Client, feed: Callable[..., Feed]
) -> None:
    listener = feed(admin)
    with sshd_stopped():
        assert scan(admin)["status"] == "failed"
    assert changes(listener, admin) == [], "a host that is down has lost no finding"
    with newer_database():
        ended = scan(admin)
        # Before the feed is read: that waits for a heartbeat, which may take longer than a toast stays.
        expect(page.locator(".toast", has_text="2 new").filter(has_text="1 fixed")).to_be_visible()
        (told,) = changes(listener, admin)
        assert (told["new"]["cve_ids"], told["new"]["total"]) == (NEW, 2), told
        assert (told["fixed"]["cve_ids"], told["fixed"]["total"]) == (FIXED, 1), told
        assert told["reappeared"]["total"] == told["severity_changed"]["total"] == 0
        listed = admin.get("/api/hosts/1/findings", params={"state": "new"}).raise_for_status().json()["items"]
        assert sorted(item["cve_id"] for item in listed) == NEW
        assert scan(admin)["result_data"]["vulnerabilities"] == ended["result_data"]["vulnerabilities"]
        assert changes(listener, admin) == [told], "the same findings again are no news"
