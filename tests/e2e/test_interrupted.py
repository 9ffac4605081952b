"""Ctrl-C in the playbook that takes an instance out of service and back: typed again it goes on."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests import plays

from . import stack

HOST = "vuls-web-1"
INSTANCE = f"{HOST}:2"
DRAIN = ("drain", "-e", f"drain={INSTANCE}")
BACK = (*DRAIN, "-e", "back=true")


def state() -> str:
    """Return what the instance is in, as `vulsctl status` says it."""
    rows = json.loads(stack.on(HOST, "vulsctl", "status", "--json").stdout)["items"]
    (row,) = (row for row in rows if row["instance"] == INSTANCE)
    return "ready" if row["ready"] else str(row["reason"])


def is_given_nothing() -> bool:
    return " down" in stack.shell("vuls-lb", "cat /etc/nginx/nginx.conf")


def locked() -> bool:
    return stack.on(HOST, "test", "-e", "/var/lib/vuls-rollout/lock").returncode == 0


@pytest.fixture
def back_in_service() -> Iterator[None]:
    yield
    if state() != "ready" or is_given_nothing() or locked():
        status, output = plays.play(*BACK, "-e", "rollout_break_lock=true")
        assert status == 0, output[-6000:]


@pytest.mark.usefixtures("back_in_service")
def test_what_is_interrupted_goes_on_when_it_is_typed_again_and_the_page_still_answers(admin: httpx.Client) -> None:
    for command, places, then in (
        (DRAIN, ("balance | Reload nginx", "empty | Send them away"), "draining"),
        (BACK, ("roll | Restart instance 2",), "ready"),
    ):
        for at in places:
            plays.interrupted(*command, at=at)
            assert locked(), "another operator is kept away"
            assert admin.get("/api/hosts").status_code == 200
        status, output = plays.play(*command)
        assert status == 0, output[-6000:]
        assert (state(), is_given_nothing(), locked()) == (then, then == "draining", False)
