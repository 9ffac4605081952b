"""Signing in and out, in Chromium."""

from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from app.domain.permissions import Role
from tests.page.conftest import OpenPage
from tests.page.edge import Relay
from tests.page.world import ASSESSED, PASSWORD, World


@pytest.fixture
def login_page(world: World, new_context: Callable[..., BrowserContext]) -> Page:
    """The sign-in page, where a stranger who asked for the scheduler ends."""
    assert world
    page = new_context().new_page()
    page.goto("/")
    return page


def sign_in(page: Page, name: str = "admin", password: str = PASSWORD) -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_a_stranger_is_sent_to_sign_in_and_then_sees_the_scheduler(login_page: Page) -> None:
    expect(login_page).to_have_title("Sign in · Vuls Live")
    sign_in(login_page)
    expect(login_page.get_by_role("heading", name="Scheduled tasks")).to_be_visible()
    expect(login_page.locator("#user-name")).to_have_text("admin")


def test_nothing_is_sent_before_the_program_is_there(world: World, new_context: Callable[..., BrowserContext]) -> None:
    assert world
    page = new_context().new_page()
    page.route("**/static/login.js", lambda route: route.abort())
    page.goto("/login")
    expect(page.get_by_role("button", name="Sign in")).to_be_disabled()
    page.get_by_label("Password").press("Enter")
    expect(page.get_by_text("Reload it to sign in.")).to_be_visible()
    expect(page).to_have_title("Sign in · Vuls Live")


def test_an_address_of_nothing_is_a_page_with_a_way_out(login_page: Page) -> None:
    answer = login_page.goto("/no-such-page")
    assert answer is not None
    assert answer.status == 404
    expect(login_page.get_by_role("heading", name="No such page")).to_be_visible()
    login_page.get_by_role("link", name="To the scans").click()
    expect(login_page).to_have_title("Sign in · Vuls Live")
    for path in ("/api/no-such-thing", "/static/no-such-file"):
        assert login_page.request.get(path, headers={"Accept": "text/html"}).json()["code"] == "not_found"


def test_the_keyboard_alone_is_enough(login_page: Page) -> None:
    expect(login_page.get_by_label("User name")).to_be_focused()
    login_page.keyboard.type("admin")
    login_page.keyboard.press("Tab")
    login_page.keyboard.type(PASSWORD)
    login_page.keyboard.press("Enter")
    expect(login_page.get_by_role("heading", name="Scheduled tasks")).to_be_visible()


@pytest.mark.parametrize(("name", "password"), [("admin", "wrong"), ("nobody", PASSWORD), ("admin' OR 1=1", "x")])
def test_a_wrong_name_or_password_is_told_alike(login_page: Page, name: str, password: str) -> None:
    sign_in(login_page, name, password)
    expect(login_page.get_by_role("alert")).to_have_text("The user name or the password is wrong.")
    expect(login_page.get_by_label("Password")).to_be_focused()


def test_an_empty_field_is_named(login_page: Page) -> None:
    sign_in(login_page, "", "")
    expect(login_page.get_by_role("alert")).to_have_text("Write your user name.")
    sign_in(login_page, "admin", "")
    expect(login_page.get_by_role("alert")).to_have_text("Write your password.")


def test_who_is_throttled_learns_how_long(login_page: Page, relay: Relay) -> None:
    for _ in range(11):
        login_page.request.post(
            "/api/auth/login", data={"username": "admin", "password": "wrong"}, headers={"Origin": relay.origin}
        )
    sign_in(login_page)
    expect(login_page.get_by_role("alert")).to_contain_text("Too many failed attempts. Try again in")


def test_a_server_that_is_away_is_told(login_page: Page, relay: Relay) -> None:
    relay.down = True
    relay.cut()
    sign_in(login_page)
    expect(login_page.get_by_role("alert")).to_contain_text("The server cannot be reached.")


@pytest.mark.parametrize("next_page", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:1"])
def test_signing_in_never_leads_to_another_site(login_page: Page, relay: Relay, next_page: str) -> None:
    login_page.goto(f"/login?next={quote(next_page, safe='')}")
    sign_in(login_page)
    expect(login_page.get_by_role("heading", name="Scheduled tasks")).to_be_visible()
    assert login_page.url == f"{relay.origin}/"


def test_a_link_to_a_run_survives_signing_in(login_page: Page, world: World) -> None:
    run = world.scan(world.add_task("vuls-target-1"), ASSESSED)
    login_page.goto(f"/#run-{run.id}")
    sign_in(login_page)
    expect(login_page.get_by_role("dialog", name="Scan vuls-target-1")).to_be_visible()


def test_signing_out_ends_the_session(world: World, open_page: OpenPage) -> None:
    world.add_user("anna", Role.VIEWER)
    page = open_page("anna")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in · Vuls Live")
    page.goto("/")
    expect(page).to_have_title("Sign in · Vuls Live")
