"""The primary dies while events flow: Sentinel names another, and clients are told of everything, once."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.chaos.conftest import Stage
from tests.chaos.crowd import following, own_lateness, run, until
from tests.chaos.faults import Fleet
from tests.chaos.follower import Follower, sequence
from tests.chaos.ledger import read_log
from tests.chaos.test_redis_down import LATE, SLOW_POLL, Witness
from tests.sentinel import Sentinels

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
BACK = 15.0  # seconds from the kill until events come through pub/sub again


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    with Sentinels() as trio:
        yield trio


@pytest.fixture(scope="module")
def redis_settings(sentinels: Sentinels) -> dict[str, Any]:
    return sentinels.settings


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_no_event_is_lost_or_repeated_when_the_primary_is(
    stage: Stage, start_fleet: Callable[..., Fleet], sentinels: Sentinels, how: signal.Signals
) -> None:
    fleet = start_fleet(log_poll_interval=SLOW_POLL)
    began = stage.newest()
    followers = [stage.follower("viewer-1", f"failover-{number}", fleet.choose) for number in range(20)]
    witnesses = [Witness(follower) for follower in followers]
    old = sentinels.primary()
    went, elected, ours = run(_failover(stage, followers, witnesses, sentinels, old, how))
    if how == signal.SIGKILL:
        sentinels.start_redis(old)
    else:
        sentinels.signal(f"redis-{old}", signal.SIGCONT)
    stage.judge(followers, read_log(stage.database, sequence(began)), "failover")

    delays = [seconds for one in witnesses for _, seconds in one.late(stage.committed).items()]
    back = [at - went for one in witnesses for at, state in one.states if state == "live" and at > went]
    stage.say(
        f"primary {how.name}: another after {elected - went:.1f} s, live again after {max(back):.1f} s, events at most"
        f" {max(delays):.2f} s late; {ours:.2f} s of it may be this test's own"
    )
    assert {tuple(state for _, state in one.states) for one in witnesses} == {("live", "delayed", "live")}
    assert max(delays) < LATE + SLOW_POLL + ours
    # It comes back as a replica, whatever it was.
    sentinels.wait_for_role(old, "slave")


async def _failover(
    stage: Stage,
    followers: list[Follower],
    witnesses: list[Witness],
    sentinels: Sentinels,
    old: int,
    how: signal.Signals,
) -> tuple[float, float, float]:
    """Return when the primary went, when there was another, and how late this loop itself was."""
    async with following(followers), own_lateness() as lateness:
        with stage.happening(stage.world.hosts[0], every=0.25):
            await until(lambda: all(one.states for one in witnesses), 20, "first heartbeats")
            went = time.monotonic()
            await asyncio.to_thread(sentinels.signal, f"redis-{old}", how)
            await asyncio.to_thread(sentinels.wait_for_another, old)
            elected = time.monotonic()
            await until(
                lambda: all(len(one.states) > 1 and one.states[-1][1] == "live" for one in witnesses),
                BACK,
                "live again",
            )
            await asyncio.sleep(1)
        last = sequence(await asyncio.to_thread(stage.newest))
        await until(lambda: all(follower.position >= last for follower in followers), 20, "up to date")
    return went, elected, lateness.worst
