"""Asks the instances of this host through their root-only sockets."""

from pathlib import Path
from typing import Any

import httpx

from app.cli.output import fail

SOCKET = "/run/vuls-web-{}/admin/admin.sock"


def find(given: list[str] | None, expected: int) -> list[Path]:
    """Return the named sockets, or those of all instances on this host: the `expected` first ones, there or not."""
    if given:
        return [Path(path) for path in given]
    there = set(Path("/").glob(SOCKET.format("*").lstrip("/")))
    return sorted(there | {Path(SOCKET.format(number)) for number in range(1, expected + 1)})


def unit_of(path: Path) -> str:
    """Return the unit of a socket's instance. Its own name begins with the inventory's word for the host."""
    number = path.parent.parent.name.removeprefix("vuls-web-")
    return f"vuls-web@{number}" if number.isdecimal() else str(path)


def ask(path: Path, method: str, route: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401  (query parameters)
    """Return the JSON answer of one instance.

    Raises:
        httpx.HTTPError: nobody answers, or not as expected. An instance that refuses ends the command with its words.
    """
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport, base_url="http://admin", timeout=httpx.Timeout(5, read=660)) as client:
        response = client.request(method, route, params=parameters)
        if response.headers.get("content-type") == "application/problem+json" and response.is_client_error:
            problem = response.json()
            command = problem.get("next")
            fail(problem["detail"], f"run: {command}" if command else "change what it names, and run the command again")
        response.raise_for_status()
        body: dict[str, Any] = response.json()
        return body
