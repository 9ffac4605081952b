"""The real application behind a breakable network, and a real browser in front of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from app.api.auth import COOKIE
from app.domain.permissions import Role
from app.utils.notification_service.publisher import Publisher
from app.utils.passwords import hash_password
from tests.edge.process import InstanceProcess
from tests.page.edge import Relay, self_signed
from tests.page.world import PASSWORD, World
from tests.services import Database

CHROMIUM = "/usr/bin/chromium"
expect.set_options(timeout=30_000)
OpenPage = Callable[..., Page]
StartInstance = Callable[..., InstanceProcess]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate that tools have to trust. It exists once there is a relay."""
    return tmp_path_factory.mktemp("tls") / "tls.crt"


@pytest.fixture(scope="session")
def relay(authority: Path) -> Iterator[Relay]:
    relay = Relay(self_signed(authority.parent))
    yield relay
    relay.stop()


@pytest.fixture(scope="session")
def start_instance(session_database: Database, relay: Relay) -> Iterator[StartInstance]:
    """Start an instance that takes the relay's pages for its own; it ends with the session at the latest."""
    started = []

    def start(**settings: Any) -> InstanceProcess:
        instance = InstanceProcess(session_database, allowed_origins=(relay.origin,), **settings)
        started.append(instance)
        instance.wait_ready()
        return instance

    yield start
    for instance in started:
        instance.remove()


@pytest.fixture(scope="session")
def running_instance(start_instance: StartInstance) -> InstanceProcess:
    return start_instance()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def password_hash() -> str:
    return hash_password(PASSWORD)


@pytest.fixture
def world(
    database: Database,
    redis_client: Redis,
    sessions_as: Callable[..., sessionmaker[Session]],
    running_instance: InstanceProcess,
    relay: Relay,
    password_hash: str,
) -> World:
    """An empty system with one administrator, whole network."""
    assert redis_client
    assert running_instance.process.poll() is None, running_instance.log
    relay.target = running_instance.http_socket
    relay.mend()
    world = World(sessions_as("web"), sessions_as("worker"), Publisher(database.settings("web")), password_hash)
    world.begin()
    world.add_user("admin", Role.ADMIN)
    return world


@pytest.fixture
def new_context(chromium: Browser, relay: Relay) -> Iterator[Callable[..., BrowserContext]]:
    """Open a browser profile of its own, in a known zone."""
    contexts = []

    def make(**more: Any) -> BrowserContext:
        options: dict[str, Any] = {
            "base_url": relay.origin,
            "ignore_https_errors": True,
            "timezone_id": "Europe/Berlin",
        }
        context = chromium.new_context(**(options | more))
        context.set_default_timeout(30_000)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(world: World, relay: Relay, new_context: Callable[..., BrowserContext]) -> Iterator[OpenPage]:
    """Sign in, open the page and wait until it is live: `open_page("viewer-1", path="/#run-1")`.

    With `clock=True` the page's clock is the test's to move. No script may have failed or been refused by the policy.
    """
    errors: list[str] = []

    def open_as(name: str = "admin", path: str = "/", *, clock: bool = False, **context: Any) -> Page:
        profile = new_context(**context)
        profile.add_cookies([{"name": COOKIE, "value": world.sign_in(name), "url": relay.origin, "secure": True}])
        page = profile.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
        if clock:
            page.clock.install()
        page.goto(path)
        expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        return page

    yield open_as
    assert errors == []
