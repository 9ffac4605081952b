"""Rights that end: five seconds later nothing comes any more, on whichever instance the client is."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from tests.chaos.conftest import Stage
from tests.chaos.crowd import following, run, until
from tests.chaos.faults import Fleet
from tests.chaos.follower import Choose, Follower
from tests.edge.browser import Browser
from tests.edge.conftest import PASSWORD
from tests.edge.process import ORIGIN

pytestmark = pytest.mark.chaos
DEADLINE = 5.0  # seconds


class Ear:
    """When the events happened that a client was told."""

    def __init__(self, follower: Follower) -> None:
        self.heard: list[float] = []
        follower.listener = self._hear

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "task_update":
            self.heard.append(float(message["data"]["task_name"]))


def test_nothing_comes_five_seconds_after_a_right_ended_on_either_instance(
    stage: Stage, start_fleet: Callable[..., Fleet]
) -> None:
    """Token, session, group and role end at the same moment, through the first instance; clients are on both."""
    fleet = start_fleet(permission_recheck_interval=Settings.model_fields["permission_recheck_interval"].default)
    acting = fleet.instances[0]
    admin = Browser(acting)
    assert admin.login("admin", PASSWORD).status_code == 200
    for name, role in (("leaves", "viewer"), ("sinks", "admin"), ("moves", "viewer"), ("loses-token", "viewer")):
        body = {"name": name, "role": role, "password": PASSWORD, "groups": ["group-1"]}
        assert admin.http.post("/api/users", json=body).status_code == 201
    people = {user["name"]: user["id"] for user in admin.http.get("/api/users").json()["items"]}
    leaving = Browser(acting)
    assert leaving.login("leaves", PASSWORD).status_code == 200
    made = {
        name: admin.http.post("/api/tokens", json={"user": name, "name": "chaos"}).json()
        for name in ("sinks", "moves", "loses-token")
    }
    headers = {name: {"Authorization": f"Bearer {token['token']}"} for name, token in made.items()}
    headers["leaves"] = {"Origin": ORIGIN, "Cookie": leaving.headers["Cookie"]}

    def act() -> None:
        answers = [
            leaving.http.post("/api/auth/logout"),
            admin.http.delete(f"/api/tokens/{made['loses-token']['id']}"),
            admin.http.patch(f"/api/users/{people['moves']}", json={"groups": ["group-2"]}),
            admin.http.patch(f"/api/users/{people['sinks']}", json={"role": "viewer", "groups": []}),
        ]
        assert [answer.status_code // 100 for answer in answers] == [2, 2, 2, 2]

    victims = {
        (name, number): Follower(name, headers[name], stage.newest(), f"{name}-{number}", _only(instance.http_socket))
        for name in headers
        for number, instance in enumerate(fleet.instances)
    }
    witness = stage.follower("viewer-1", "witness", fleet.choose)
    ears = {who: Ear(follower) for who, follower in victims.items()}
    told = Ear(witness)
    acted = run(_watch(stage, [*victims.values(), witness], [*ears.values(), told], act))

    last = max(told.heard)
    assert last > acted + DEADLINE + 2, "events went on, and the witness heard them"
    for who, ear in ears.items():
        before = [at for at in ear.heard if at < acted]
        after = [at - acted for at in ear.heard if at > acted]
        stage.say(f"{who}: the last event happened {max(after, default=0):.1f} s after the change")
        assert before, f"{who} heard nothing at all"
        assert max(after, default=0) < DEADLINE, f"{who} was told of what happened {max(after):.1f} s after the change"


def _only(path: Path) -> Choose:
    return lambda _: path


async def _watch(stage: Stage, followers: list[Follower], ears: list[Ear], act: Callable[[], None]) -> float:
    """Follow, act, follow on; return when the action was done."""
    async with following(followers):
        with stage.happening(stage.world.hosts[0], every=0.1):
            await until(lambda: all(ear.heard for ear in ears), 20, "hearing of events")
            await asyncio.to_thread(act)
            acted = time.monotonic()
            await asyncio.sleep(DEADLINE + 3)
        await asyncio.sleep(0.5)
    return acted
