"""A running scan in the browser: how far it is, what it says, and an end to it."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.domain.permissions import Role
from tests.page.conftest import OpenPage
from tests.page.world import CLEAN, FAILED, World

LINE = 'time="Nov 23 05:50:47" level=info msg="Scanning OS pkg in fast mode"'


def asked_for_logs(page: Page) -> list[str]:
    """The addresses of logs that the page asks for from here on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/log" in request.url else None)
    return asked


def test_how_far_a_scan_is_survives_a_reload_and_grows_without_one(world: World, open_page: OpenPage) -> None:
    run = world.start(world.queue(world.add_task("vuls-target-1")))
    world.progress(run, "collecting_packages", 40)
    page = open_page()
    row = page.locator(f"#running [data-run-id='{run.id}']")
    expect(row).to_contain_text("Collecting packages")
    expect(row.get_by_role("progressbar")).to_have_attribute("value", "40")
    world.progress(run, "matching", 80)
    expect(row).to_contain_text("Matching with vulnerabilities")
    expect(row.get_by_role("progressbar")).to_have_attribute("value", "80")
    page.reload()
    expect(row).to_contain_text("80 %")


def test_the_log_is_read_while_it_is_open_only(world: World, open_page: OpenPage) -> None:
    run = world.start(world.queue(world.add_task("vuls-target-1")))
    world.say(run, LINE, "<b>not bold</b>")
    page = open_page()
    asked = asked_for_logs(page)
    button = page.get_by_role("button", name="Log of Scan vuls-target-1")
    log = page.get_by_role("log")
    expect(log).to_have_count(0)
    button.click()
    expect(log).to_have_text(f"{LINE}\n<b>not bold</b>\n")
    expect(log.locator("b")).to_have_count(0)
    expect(button).to_have_attribute("aria-expanded", "true")
    world.progress(run, "matching", 80)  # the row is drawn anew, the log is not
    world.say(run, "later")
    expect(log).to_contain_text("later")
    assert log.inner_text().count(LINE) == 1
    button.click()
    expect(log).to_have_count(0)
    page.wait_for_timeout(1500)  # an answer on its way
    before = len(asked)
    page.wait_for_timeout(2500)
    assert len(asked) == before > 0
    button.click()
    expect(log).to_contain_text("later")
    world.end(run, "success", CLEAN)
    expect(log).to_have_count(0)


def test_a_button_stays_under_the_pointer_while_the_scan_goes_on(world: World, open_page: OpenPage) -> None:
    run = world.start(world.queue(world.add_task("vuls-target-1")))
    world.progress(run, "connecting", None)
    page = open_page()
    row = page.locator(f"#running [data-run-id='{run.id}']")
    button = row.get_by_role("button", name="Cancel Scan vuls-target-1").element_handle()
    expect(row.get_by_role("progressbar")).to_have_count(0)
    for phase, percent in (("connecting", 10), ("matching", 80)):
        world.progress(run, phase, percent)
        expect(row.get_by_role("progressbar")).to_have_attribute("value", str(percent))
        assert button.evaluate("button => button.isConnected"), "a click that began would be lost"
    expect(row).to_contain_text("Matching with vulnerabilities")


def test_an_open_log_stays_as_it_is_when_a_run_before_it_ends(world: World, open_page: OpenPage) -> None:
    first = world.start(world.queue(world.add_task("vuls-target-1")))
    second = world.start(world.queue(world.add_task("vuls-target-2")))
    world.say(second, *[f"{LINE} {number}" for number in range(100)])
    page = open_page()
    page.get_by_role("button", name="Log of Scan vuls-target-2").click()
    log = page.get_by_role("log")
    expect(log).to_contain_text("99")
    log.evaluate("log => { log.scrollTop = 100; }")
    log.focus()
    world.end(first, "success", CLEAN)
    expect(page.locator(f"#running [data-run-id='{first.id}']")).to_have_count(0)
    expect(log).to_be_focused()
    assert log.evaluate("log => log.scrollTop") == 100


def test_a_run_is_cancelled_with_a_click(world: World, open_page: OpenPage) -> None:
    run = world.start(world.queue(world.add_task("vuls-target-1")))
    page = open_page()
    page.get_by_role("button", name="Cancel Scan vuls-target-1").click()
    expect(page.locator(f"#recent [data-run-id='{run.id}']")).to_contain_text("Cancelled")
    expect(page.locator("#running [data-run-id]")).to_have_count(0)
    expect(page.get_by_role("button", name="Run Scan vuls-target-1")).to_be_enabled()


def test_a_cancel_that_is_refused_says_why_and_can_be_tried_again(world: World, open_page: OpenPage) -> None:
    world.start(world.queue(world.add_task("vuls-target-1")))
    page = open_page()
    refusal = {"title": "Conflict", "status": 409, "code": "run_finished", "detail": "The run has finished already."}
    page.route(re.compile("/cancel$"), lambda route: route.fulfill(status=409, json=refusal))
    button = page.get_by_role("button", name="Cancel Scan vuls-target-1")
    button.click()
    toast = page.locator(".toast")
    expect(toast).to_contain_text("Scan vuls-target-1 was not cancelled")
    expect(toast).to_contain_text("The run has finished already.")
    expect(button).to_be_enabled()


def test_a_viewer_reads_the_log_and_cancels_nothing(world: World, open_page: OpenPage) -> None:
    run = world.start(world.queue(world.add_task("vuls-target-1", "linux")))
    world.say(run, LINE)
    world.add_user("vera", Role.VIEWER, ("linux",))
    page = open_page("vera")
    page.get_by_role("button", name="Log of Scan vuls-target-1").click()
    expect(page.get_by_role("log")).to_contain_text(LINE)
    expect(page.get_by_role("button", name=re.compile("Cancel Scan"))).to_have_count(0)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_running_scan_fits_the_screen(
    world: World, open_page: OpenPage, tmp_path: Path, width: int, scheme: str
) -> None:
    run = world.start(world.queue(world.add_task("vuls-target-1")))
    world.progress(run, "collecting_packages", 40)
    world.say(run, *[f"{LINE} {number} {'x' * 200}" for number in range(30)])
    world.queue(world.add_task("vuls-target-2"))
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.get_by_role("button", name="Log of Scan vuls-target-1").click()
    expect(page.get_by_role("log")).to_contain_text("29 xxx")
    page.screenshot(path=tmp_path / f"running-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    log, card = page.get_by_role("log").bounding_box(), page.locator("#running").bounding_box()
    assert log is not None
    assert card is not None
    assert card["x"] <= log["x"]
    assert log["x"] + log["width"] <= card["x"] + card["width"]


def test_the_log_of_a_failed_run_is_with_its_details(world: World, open_page: OpenPage) -> None:
    task = world.add_task("vuls-target-1")
    run = world.start(world.queue(task))
    world.say(run, LINE)
    world.end(run, "failed", FAILED)
    silent = world.scan(task, FAILED)
    page = open_page()
    asked = asked_for_logs(page)
    page.locator(f"#recent [data-run-id='{run.id}']").get_by_role("link", name="Details").click()
    dialog = page.get_by_role("dialog", name="Scan vuls-target-1")
    reason: Any = FAILED["reason"]
    expect(dialog).to_contain_text(reason["sentence"])
    assert asked == [], "nobody looks yet"
    dialog.get_by_text("What the programs said").click()
    expect(dialog.get_by_role("log")).to_have_text(f"{LINE}\n")
    page.keyboard.press("Escape")
    page.locator(f"#recent [data-run-id='{silent.id}']").get_by_role("link", name="Details").click()
    dialog.get_by_text("What the programs said").click()
    expect(dialog.get_by_role("log")).to_have_text("Nothing was said, or it is not kept any more.")
