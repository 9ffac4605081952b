"""`vulsctl db new-epoch`: what connected clients and those with an old cursor are told by an instance that runs."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.domain.cursor import Cursor
from app.domain.envelope import StoredEvent
from tests.edge.browser import Browser
from tests.edge.process import InstanceProcess, eventually
from tests.services import Database

Happen = Callable[..., StoredEvent]
SignIn = Callable[..., Browser]


@pytest.fixture
def new_epoch(process_settings: Callable[..., Any]) -> Callable[[], str]:
    def begin() -> str:
        process_settings("cli")
        result = CliRunner().invoke(cli, ["db", "new-epoch", "--json"])
        assert result.exit_code == 0, result.output
        return str(json.loads(result.stdout)["epoch"])

    return begin


def test_after_a_restore_nobody_continues_into_events_of_another_history(
    instance: InstanceProcess, sign_in: SignIn, happen: Happen, database: Database, new_epoch: Callable[[], str]
) -> None:
    """The log goes back to an earlier state in the same cluster, as by pg_restore, and grows past the old cursors."""
    with sign_in("admin").feed() as feed:
        feed.next()
        old = [happen(f"lost by the restore {number}") for number in range(3)][-1].cursor
        feed.updates_until("lost by the restore 2")
        kept = old.sequence - 3
        ((floor,),) = database.execute("SELECT seq FROM event_floor")
        database.execute("DELETE FROM event WHERE seq > %s", kept)
        database.execute("UPDATE event_floor SET seq = %s", floor)
        database.execute("SELECT setval('event_seq', %s)", kept)

        epoch = new_epoch()

        told = feed.next()
        assert (told["type"], told["data"]) == ("resync_required", {"reason": "other_epoch"})
        assert told["id"] == str(Cursor(epoch, kept))
        for number in range(4):
            happen(f"after the restore {number}")
        assert len(feed.updates_until("after the restore 3")) == 4, "a client that is connected goes on"
    with instance.admin() as admin:
        eventually(lambda: admin.get("/status").json()["cursor"] == str(Cursor(epoch, old.sequence + 1)))

    browser = sign_in("admin")
    with browser.feed(str(old)) as late:  # its sequence exists again, as another event
        assert late.next()["type"] == "hello"
        assert late.next()["data"] == {"reason": "other_epoch"}
    polled = browser.http.get("/api/notifications", params={"since": str(old)})
    assert polled.status_code == 410
    assert "other_epoch" in polled.text
    again = browser.http.get("/api/notifications", params={"since": told["id"]})
    assert [item["data"]["task_name"] for item in again.json()["items"]] == [
        f"after the restore {number}" for number in range(4)
    ]
