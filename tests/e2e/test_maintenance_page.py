"""While it is maintenance, people get a page that says so, programs a problem that says when to come back."""

from collections.abc import Iterator

import pytest

from tests.runbooks import run_page

from . import stack


@pytest.fixture(scope="module")
def maintenance() -> Iterator[None]:
    run_page("docs/operations/maintenance-page.md", "Steps", "How you know that it worked")
    yield
    run_page("docs/operations/maintenance-page.md", "How to go back")
    with stack.client() as visitor:
        assert visitor.get("/readyz").status_code == 200


@pytest.mark.usefixtures("maintenance")
def test_a_person_gets_a_page() -> None:
    with stack.client() as visitor:
        answer = visitor.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<h1>Maintenance</h1>" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.usefixtures("maintenance")
@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/api/runs", "*/*"),
        ("/api/runs", "text/html"),
        ("/api/ws", "*/*"),
        ("/readyz", "application/json"),
        ("/", "*/*"),
    ],
)
def test_a_program_gets_a_problem_that_says_when_to_come_back(path: str, accept: str) -> None:
    with stack.client() as visitor:
        answer = visitor.get(path, headers={"Accept": accept})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (503, "maintenance")
    assert problem["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.usefixtures("maintenance")
def test_nginx_itself_still_works_for_keepalived_and_for_nobody_else() -> None:
    ask = (
        "import ssl, sys, urllib.request as r; c = ssl._create_unverified_context();"
        "print(r.urlopen('https://' + sys.argv[1] + '/_balancer', context=c).read())"
    )
    assert "works" in stack.must(stack.on("vuls-lb", "python3", "-c", ask, "127.0.0.1"))
    assert "404" in stack.on("vuls-worker", "python3", "-c", ask, "vuls-lb").stderr


def test_a_word_that_is_neither_changes_nothing() -> None:
    refused = stack.ansible_playbook("playbooks/maintenance.yml", "-e", "maintenance=perhaps")
    assert refused.returncode != 0
    assert "nothing has changed" in refused.stdout
