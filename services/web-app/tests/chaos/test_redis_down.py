"""Redis goes away for a while: events come through the log meanwhile, and clients are told the truth about it."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.chaos.conftest import Stage
from tests.chaos.crowd import following, own_lateness, run, until
from tests.chaos.faults import Fleet
from tests.chaos.follower import Follower, sequence
from tests.chaos.ledger import read_log
from tests.redis_server import OwnRedis

pytestmark = pytest.mark.chaos
LATE = 2.0  # seconds that an event may take through the log
RETURN = 2.0  # seconds after which events come through pub/sub again
SLOW_POLL = 5.0  # seconds between reads without a wake-up: what comes sooner was woken


class Witness:
    """What one client hears: when events came, and what heartbeats say of the feed."""

    def __init__(self, follower: Follower) -> None:
        self.heard: dict[float, float] = {}  # when, by the time of the event
        self.states: list[tuple[float, str]] = []
        follower.listener = self._hear

    def late(self, committed: Mapping[float, float]) -> dict[float, float]:
        """Return how many seconds behind its commit each event came."""
        return {happened: heard - committed[happened] for happened, heard in self.heard.items()}

    def _hear(self, message: dict[str, Any]) -> None:
        now = time.monotonic()
        if message["type"] == "task_update":
            self.heard[float(message["data"]["task_name"])] = now
        elif message["type"] == "heartbeat" and [message["data"]["state"]] != [state for _, state in self.states[-1:]]:
            self.states.append((now, message["data"]["state"]))


@pytest.mark.parametrize(
    ("clients", "seconds"),
    [
        pytest.param(20, 8, id="short"),
        pytest.param(200, 60, id="long", marks=[pytest.mark.long, pytest.mark.timeout(300)]),
    ],
)
def test_without_redis_events_come_through_the_log_and_clients_know(
    stage: Stage, start_fleet: Callable[..., Fleet], own_redis: OwnRedis, clients: int, seconds: float
) -> None:
    fleet = start_fleet(log_poll_interval=SLOW_POLL)
    began = stage.newest()
    followers = [stage.follower("viewer-1", f"redis-{number}", fleet.choose) for number in range(clients)]
    witnesses = [Witness(follower) for follower in followers]
    went, came, ours = run(_outage(stage, followers, witnesses, own_redis, seconds))
    stage.judge(followers, read_log(stage.database, sequence(began)), "redis")

    late = [item for one in witnesses for item in one.late(stage.committed).items()]
    delays = [seconds for at, seconds in late if went <= at < came]
    back = [at - came for one in witnesses for at, state in one.states[2:] if state == "live"]
    soon = [seconds for at, seconds in late if at > came + RETURN]
    stage.say(
        f"Redis away for {seconds} s: events at most {max(delays):.2f} s late; live again after {max(back):.2f} s,"
        f" then at most {max(soon):.2f} s late; {ours:.2f} s of it may be this test's own"
    )
    assert {tuple(state for _, state in one.states) for one in witnesses} == {("live", "delayed", "live")}
    assert max(delays) < LATE + ours
    assert max(soon) < LATE + ours


async def _outage(
    stage: Stage, followers: list[Follower], witnesses: list[Witness], redis: OwnRedis, seconds: float
) -> tuple[float, float, float]:
    """Return when Redis went, when it took messages again, and how late this loop itself was."""
    async with following(followers), own_lateness() as lateness:
        with stage.happening(stage.world.hosts[0], every=0.25):
            await until(lambda: all(one.states for one in witnesses), 20, "first heartbeats")
            went = time.monotonic()
            await asyncio.to_thread(redis.signal, signal.SIGKILL)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(redis.start)
            came = time.monotonic()
            await asyncio.sleep(RETURN + 3)
            await until(lambda: all(one.states[-1][1] == "live" for one in witnesses), 20, "live again")
        last = sequence(await asyncio.to_thread(stage.newest))
        await until(lambda: all(follower.position >= last for follower in followers), 20, "up to date")
    return went, came, lateness.worst
