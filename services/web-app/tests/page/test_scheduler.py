"""The scheduler page against a real instance, PostgreSQL and Redis, in Chromium."""

import pytest
from playwright.sync_api import expect

from app.domain.permissions import Role
from tests.page.conftest import OpenPage
from tests.page.world import ASSESSED, CLEAN, FAILED, NOT_ASSESSED, World

pytestmark = pytest.mark.integration


def test_an_empty_system_says_what_is_missing(world: World, open_page: OpenPage) -> None:
    page = open_page()
    expect(page.get_by_text("There is no host to scan yet.")).to_be_visible()
    expect(page.get_by_text("Nothing is being scanned.")).to_be_visible()
    expect(page.get_by_text("No run has ended yet.")).to_be_visible()


def test_a_run_goes_from_click_to_toast_and_recent_activity(world: World, open_page: OpenPage) -> None:
    task = world.add_task("vuls-target-1")
    page = open_page()
    page.get_by_role("button", name="Run Scan vuls-target-1").click()
    row = page.locator("#running [data-run-id]")
    expect(row).to_contain_text("Queued")
    assert task
