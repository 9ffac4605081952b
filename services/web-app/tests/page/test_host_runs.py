"""What can be asked for a host besides a scan, in the browser: its connection tested, its packages assessed again."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.domain.permissions import Role
from tests.page.conftest import OpenPage
from tests.page.world import ASSESSED, CLEAN, FAILED, World
from tests.services import Database


def test_a_connection_that_works_is_said_in_a_toast_and_in_the_list(world: World, open_page: OpenPage) -> None:
    task = world.add_task("web-3")
    page = open_page()
    button = page.get_by_role("button", name=re.compile("^Test connection"))
    button.focus()
    page.keyboard.press("Enter")
    running = page.locator("#running [data-run-id]")
    expect(running).to_contain_text("Test connection of web-3")
    expect(button).to_be_disabled()
    expect(button).to_be_focused()
    expect(page.get_by_role("button", name="Run Scan web-3")).to_be_enabled()
    run = world.start(world.find_host_run(task.host_id, "check"))
    world.end_check(run, {})
    expect(page.locator(".toast")).to_contain_text("Connection to web-3 works.")
    row = page.locator(f"#recent [data-run-id='{run.id}']")
    expect(row).to_contain_text("Connection works")
    expect(row).to_contain_text("Test connection of web-3")
    expect(button).to_be_enabled()
    expect(page.locator("#tasks")).to_contain_text("Not run yet")
    page.reload()
    expect(row).to_contain_text("Connection works")


def test_a_host_without_a_task_is_tested_and_given_one(world: World, open_page: OpenPage, database: Database) -> None:
    task = world.add_task("web-3")
    database.execute("DELETE FROM scheduled_task")
    page = open_page()
    row = page.locator(f"#idle-hosts [data-host-id='{task.host_id}']")
    expect(row).to_contain_text("web-3")
    row.get_by_role("button", name="Test connection").click()
    expect(row.get_by_role("button", name="Test connection")).to_be_disabled()
    world.end_check(world.start(world.find_host_run(task.host_id, "check")), {})
    expect(page.locator(".toast")).to_contain_text("Connection to web-3 works.")
    expect(row.get_by_role("button", name="Test connection")).to_be_enabled()
    row.get_by_role("button", name="New task for web-3").click()
    page.get_by_label("Name", exact=True).fill("Nightly")
    page.get_by_role("button", name="Create task").click()
    expect(page.locator("#tasks")).to_contain_text("web-3")
    expect(page.get_by_role("heading", name="Hosts without a task")).to_be_hidden()


def test_a_connection_that_fails_says_why(world: World, open_page: OpenPage) -> None:
    task = world.add_task("web-3")
    page = open_page()
    page.get_by_role("button", name=re.compile("^Test connection")).click()
    expect(page.locator("#running [data-run-id]")).to_have_count(1)
    world.end_check(world.start(world.find_host_run(task.host_id, "check")), FAILED)
    toast = page.locator(".toast")
    expect(toast).to_contain_text("Test connection of web-3")
    expect(toast).to_contain_text("vuls-target-1 did not answer on port 22.")
    expect(toast).to_have_attribute("role", "alert")


def test_packages_are_assessed_again_with_a_click(world: World, open_page: OpenPage) -> None:
    task = world.add_task("web-3")
    world.scan(task, CLEAN)
    page = open_page()
    page.get_by_role("button", name=re.compile("^Assess again")).click()
    expect(page.locator("#running [data-run-id]")).to_contain_text("Assess web-3 again")
    run = world.start(world.find_host_run(task.host_id, "reassess"))
    world.end(run, "success", ASSESSED | {"kind": "reassess"})
    expect(page.locator(f"#recent [data-run-id='{run.id}']")).to_contain_text("9 vulnerabilities")
    expect(page.locator(f".toast[data-run-id='{run.id}']")).to_contain_text("9 vulnerabilities")
    expect(page.locator("#tasks")).to_contain_text("9 vulnerabilities")
    page.reload()
    expect(page.locator("#tasks")).to_contain_text("9 vulnerabilities")


def test_a_refusal_says_why_and_the_button_comes_back(world: World, open_page: OpenPage) -> None:
    world.add_task("web-3")
    page = open_page()
    refusal = {"title": "Unavailable", "status": 503, "code": "database_unavailable", "detail": "The database is away."}
    page.route(re.compile("/check$"), lambda route: route.fulfill(status=503, json=refusal))
    button = page.get_by_role("button", name=re.compile("^Test connection"))
    button.click()
    expect(page.locator(".toast")).to_contain_text("The connection to web-3 was not tested")
    expect(page.locator(".toast")).to_contain_text("The database is away.")
    expect(button).to_be_enabled()


def test_a_viewer_has_no_such_buttons(world: World, open_page: OpenPage) -> None:
    world.add_task("web-3", group="linux")
    world.add_user("vera", Role.VIEWER, ("linux",))
    page = open_page("vera")
    expect(page.locator("#tasks")).to_contain_text("web-3")
    expect(page.get_by_role("button", name=re.compile("^(Test connection|Assess again)"))).to_have_count(0)


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_buttons_fit_the_screen(world: World, open_page: OpenPage, tmp_path: Path, width: int, scheme: str) -> None:
    task = world.add_task("web-3", cron="0 3 * * *")
    world.scan(task, ASSESSED)
    world.scan(world.add_task("a-host-with-a-rather-long-name-indeed"), FAILED)
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.get_by_role("button", name=re.compile(r"^Test connection.*web-3\)")).click()
    expect(page.locator("#running [data-run-id]")).to_have_count(1)
    world.end_check(world.start(world.find_host_run(task.host_id, "check")), {})
    expect(page.locator(".toast")).to_contain_text("Connection to web-3 works.")
    page.screenshot(path=tmp_path / f"host-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    card = page.locator("#tasks").bounding_box()
    assert card is not None
    for button in page.locator("#tasks button").all():
        box = button.bounding_box()
        assert box is not None
        assert card["x"] < box["x"]
        assert box["x"] + box["width"] < card["x"] + card["width"] - 8
