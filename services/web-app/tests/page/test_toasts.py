"""Toasts: seen by everybody, in nobody's way."""

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import OpenPage
from tests.page.world import ASSESSED, CLEAN, FAILED, World


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """A live page whose clock a test can move."""
    return open_page(clock=True)


def test_a_success_leaves_by_itself_and_a_failure_stays(world: World, page: Page) -> None:
    task = world.add_task("vuls-target-1")
    world.scan(task, FAILED)
    world.scan(task, CLEAN)
    expect(page.locator(".toast[role=group]")).to_have_count(1)
    page.clock.run_for(15_000)
    expect(page.locator(".toast[role=group]")).to_have_count(0)
    expect(page.locator(".toast[role=alert]")).to_have_count(1)


@pytest.mark.parametrize("how", ["hover", "focus"])
def test_a_toast_waits_while_somebody_looks_at_it(world: World, page: Page, how: str) -> None:
    world.scan(world.add_task("vuls-target-1"), ASSESSED)
    toast = page.locator(".toast")
    expect(toast).to_have_count(1)
    if how == "hover":
        toast.hover()
    else:
        page.keyboard.press("F8")
    page.clock.run_for(30_000)
    expect(toast).to_have_count(1)
    page.mouse.move(0, 0)
    page.locator("#new-task").focus()
    page.clock.run_for(15_000)
    expect(toast).to_have_count(0)


def test_at_most_five_are_shown_the_newest_ones(world: World, page: Page) -> None:
    task = world.add_task("vuls-target-1")
    runs = [world.scan(task, FAILED) for _ in range(7)]
    expect(page.locator("#recent [data-run-id]")).to_have_count(7)
    shown = page.locator(".toast").evaluate_all("toasts => toasts.map(toast => Number(toast.dataset.runId))")
    assert shown == [run.id for run in reversed(runs[-5:])]


def test_a_failure_is_not_pushed_out_by_successes(world: World, page: Page) -> None:
    task = world.add_task("vuls-target-1")
    failed = world.scan(task, FAILED)
    runs = [world.scan(task, CLEAN) for _ in range(6)]
    expect(page.locator("#recent [data-run-id]")).to_have_count(7)
    shown = page.locator(".toast").evaluate_all("toasts => toasts.map(toast => Number(toast.dataset.runId))")
    assert shown == [run.id for run in reversed([failed, *runs[-4:]])]


def test_the_keyboard_reaches_and_dismisses_toasts_and_returns(world: World, page: Page) -> None:
    task = world.add_task("vuls-target-1")
    older, newer = world.scan(task, FAILED), world.scan(task, FAILED)
    expect(page.locator(".toast")).to_have_count(2)
    page.get_by_role("button", name="New task").focus()
    page.keyboard.press("F8")
    expect(page.locator(f".toast[data-run-id='{newer.id}'] button")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(f".toast[data-run-id='{older.id}'] button")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_have_count(0)
    expect(page.get_by_role("button", name="New task")).to_be_focused()


def test_a_toast_leads_to_what_the_run_found(world: World, page: Page) -> None:
    world.scan(world.add_task("vuls-target-1"), ASSESSED)
    page.get_by_role("link", name="See the findings").click()
    expect(page.get_by_role("dialog", name="Scan vuls-target-1").locator("[data-cve]")).to_have_count(9)
    expect(page.locator(".toast")).to_have_count(0)


def test_a_toast_waits_behind_a_dialog(world: World, page: Page) -> None:
    task = world.add_task("vuls-target-1")
    page.get_by_role("button", name="New task").click()
    world.scan(task, CLEAN)
    expect(page.locator(".toast")).to_have_count(1)
    page.clock.run_for(30_000)
    expect(page.locator(".toast")).to_have_count(1)
