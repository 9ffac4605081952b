"""A storm: updates are merged into digests that add up, failures come at once, and details can be asked for."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.db.events import record_event
from app.domain.envelope import StoredEvent, task_update_data
from tests.edge.browser import Browser
from tests.edge.conftest import World
from tests.edge.process import InstanceProcess, eventually

RATE = 20  # events a second
SignIn = Callable[..., Browser]
Happen = Callable[..., StoredEvent]
Finish = Callable[..., None]


@pytest.fixture(scope="module")
def stormy(start_instance: Callable[..., InstanceProcess]) -> InstanceProcess:
    return start_instance(digest_rate=RATE)


@pytest.fixture
def finish(web_sessions: sessionmaker[Session]) -> Finish:
    """Store events in one transaction: `finish(host_id, "success", times=100, vulnerabilities=3)`."""

    def store(host_id: int | None, status: str, times: int = 1, **result: int) -> None:
        with web_sessions.begin() as session:
            for number in range(times):
                data = task_update_data(0, number, status, "Scan", result, datetime.now(UTC))
                record_event(session, "task_update", host_id, data)

    return store


@pytest.mark.usefixtures("world")
def test_hundreds_of_completions_come_as_digests_that_add_up(
    stormy: InstanceProcess, sign_in: SignIn, finish: Finish, happen: Happen, world: World
) -> None:
    start = happen("before")
    with stormy.admin() as admin:
        eventually(lambda: admin.get("/status").json()["cursor"] == str(start.cursor))
    viewer = sign_in("viewer-1", stormy)
    with viewer.feed() as feed:
        feed.next()
        for _ in range(3):
            finish(world.hosts[0], "success", 100, vulnerabilities=3, high=3)
            finish(world.hosts[1], "success", 100)
            finish(world.hosts[0], "failed")
        messages = []
        told = 0
        while told < 303:
            message = feed.next()
            messages.append(message)
            told += message["data"]["events"] if message["type"] == "digest" else 1

    digests = [message for message in messages if message["type"] == "digest"]
    assert len(messages) < 30
    assert told == 303
    assert (
        sum(digest["data"]["vulnerabilities"] for digest in digests)
        + 3 * sum(message["data"]["status"] == "success" for message in messages if message["type"] == "task_update")
        == 900
    )
    assert [message["data"]["status"] for message in messages if message["type"] == "task_update"].count("failed") == 3

    first = digests[0]
    details = viewer.http.get(
        "/api/notifications", params={"since": first["data"]["since"], "until": first["id"]}
    ).json()
    assert len(details["items"]) == first["data"]["events"]
    assert details["items"][-1]["id"] == details["next"] == first["id"]


@pytest.mark.usefixtures("world")
def test_a_storm_that_comes_in_one_go_is_merged_too(
    stormy: InstanceProcess, sign_in: SignIn, finish: Finish, world: World
) -> None:
    with sign_in("viewer-1", stormy).feed() as feed:
        feed.next()
        finish(world.hosts[0], "success", 5 * RATE)
        digest = feed.next()
    assert (digest["type"], digest["data"]["events"]) == ("digest", 5 * RATE)
