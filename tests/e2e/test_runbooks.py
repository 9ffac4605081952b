"""The commands of docs/operations work as they are written. Targets have a test of their own, test_scan_hosts."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from . import stack

PAGES = stack.ROOT / "docs/operations"
RUN_AS_WRITTEN = [
    "users.md",
    "a-scan-fails.md",
    "no-toasts.md",
    "maintenance.md",
    "maintenance-page.md",
    "certificates.md",
    "firewall.md",
]
USER, GROUP, PASSWORD = "ada", "team-a", stack.LOCAL / "ada-password"


def commands(page: Path) -> list[str]:
    """Return the command lines of a page, in their order."""
    lines = page.read_text().replace("\\\n", " ").splitlines()
    return [line.strip().removeprefix("$ ") for line in lines if line.strip().startswith("$ ")]


@pytest.fixture
def nothing_left_of_ada(admin: httpx.Client) -> Iterator[None]:
    yield
    PASSWORD.unlink(missing_ok=True)
    for user in admin.get("/api/users").json()["items"]:
        if user["name"] == USER:
            admin.delete(f"/api/users/{user['id']}").raise_for_status()
    stack.sql(f"DELETE FROM host_group WHERE name = '{GROUP}'")


@pytest.mark.usefixtures("nothing_left_of_ada")
@pytest.mark.parametrize(
    "page", ["users.md", "a-scan-fails.md", "no-toasts.md", "maintenance.md", "maintenance-page.md", "certificates.md"]
)
def test_the_commands_of_a_page_work_one_after_the_other(page: str) -> None:
    todo = commands(PAGES / page)
    assert todo
    for command in todo:
        setting = f"export ANSIBLE_CONFIG={stack.ROOT / 'ansible.cfg'}; . .venv/bin/activate"
        stack.must(stack.run("bash", "-c", f"{setting}; {command}", timeout=300))


@pytest.mark.usefixtures("nothing_left_of_ada")
def test_a_user_that_was_added_as_the_page_says_may_sign_in_until_disabled() -> None:
    todo = commands(PAGES / "users.md")
    for command in todo[:3]:
        stack.must(stack.run("bash", "-c", command))
    stack.sign_in(USER, PASSWORD.read_text().strip()).close()
    assert PASSWORD.stat().st_mode & 0o077 == 0
    stack.must(stack.on("vuls-web-1", "vulsctl", "user", "disable", USER))
    with stack.client() as visitor:
        attempt = {"username": USER, "password": PASSWORD.read_text().strip()}
        assert visitor.post("/api/auth/login", json=attempt).status_code == 401
