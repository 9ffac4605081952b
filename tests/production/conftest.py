"""The site as its users reach it: by its public name, at the address that two balancers share."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Feed, read_schemas
from tests.e2e.websocket import open_socket

from . import site


@pytest.fixture(scope="session")
def tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(site.STATE / "ca.crt"))


@pytest.fixture(scope="session")
def admin(tls: ssl.SSLContext) -> Iterator[httpx.Client]:
    with closing(site.client(tls)) as session:
        given = {"username": "admin", "password": (site.STATE / "admin-password").read_text().strip()}
        answer = session.post("/api/auth/login", json=given)
        assert answer.status_code == 200, answer.text
        yield session


@pytest.fixture(scope="session")
def schemas(admin: httpx.Client) -> dict[str, Draft202012Validator]:
    return read_schemas(admin)


@pytest.fixture
def feed(
    tls: ssl.SSLContext, admin: httpx.Client, schemas: dict[str, Draft202012Validator]
) -> Iterator[Callable[..., Feed]]:
    """Open feeds with the administrator's session, from a cursor where one is given; all are closed afterwards."""
    with ExitStack() as opened:

        def open_feed(since: str | None = None) -> Feed:
            cookies = "; ".join(f"{name}={value}" for name, value in admin.cookies.items() if "route" not in name)
            url = f"wss://{site.NAME}/api/ws" + (f"?since={since}" if since else "")
            result = Feed(
                opened.enter_context(open_socket(url, tls, site.ORIGIN, {"Cookie": cookies}, site.address())), schemas
            )
            result.next(lambda m: m["type"] == "hello")
            return result

        yield open_feed
