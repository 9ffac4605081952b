"""Everything fails, again and again: every client still gets every event that it may see, once and in order."""

import asyncio
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import pytest
import uvloop

from tests.chaos.conftest import Stage
from tests.chaos.faults import Faults, Fleet, Postgres
from tests.chaos.follower import Follower, annoy, sequence
from tests.chaos.ledger import read_log
from tests.chaos.writers import Writers
from tests.redis_server import OwnRedis

pytestmark = pytest.mark.chaos
FIXED_SEED = "20250627"
LULL = 60  # seconds; a run longer than this has pauses in which to recover
SETTLED = 60  # seconds after the last fault, until everybody has everything
CLIENTS = int(os.environ.get("VULS_CHAOS_CLIENTS", "500"))  # of the long form
SECONDS = int(os.environ.get("VULS_CHAOS_SECONDS", "600"))
SEED = os.environ.get("VULS_CHAOS_SEED") or secrets.token_hex(4)


@pytest.mark.parametrize(
    ("seed", "clients", "seconds"),
    [
        pytest.param(FIXED_SEED, 100, 20, id="short"),
        pytest.param(SEED, 100, 20, id="short-random"),
        pytest.param(SEED, CLIENTS, SECONDS, id="long", marks=[pytest.mark.long, pytest.mark.timeout(SECONDS + 600)]),
    ],
)
def test_every_client_gets_every_event_once_and_in_order(
    stage: Stage,
    start_fleet: Callable[..., Fleet],
    own_redis: OwnRedis,
    postgres: Postgres,
    *,
    seed: str,
    clients: int,
    seconds: int,
) -> None:
    stage.say(f"chaos: seed {seed}, {clients} clients, {seconds} s")
    # The short forms remember little, so that whoever lags is caught up from the log. In the long one a crowd comes
    # back from minutes ago: that would be thousands of rows for each, which only a test lets them have (replay_limit).
    fleet = start_fleet() if seconds > LULL else start_fleet(ring_size=50)
    began = stage.newest()
    names = cycle(stage.people)
    followers = [stage.follower(next(names), f"{seed}-{number}", fleet.choose) for number in range(clients)]
    for follower in followers:
        follower.patience = 30 if seconds > LULL else 3
    run = Run(
        stage,
        followers,
        Writers(stage.sessions, stage.settings, stage.world.hosts, seed),
        Faults(fleet, own_redis, postgres, seed, (8, 30) if seconds > LULL else (2, 5)),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run.play(seconds, seed))
    log = read_log(stage.database, sequence(began))
    stage.judge(followers, log, seed)
    stage.say(
        f"chaos: {dict(Counter(entry.type for entry in log))} in the log;"
        f" {sum(len(one.diary) for one in followers)} deliveries,"
        f" {sum(sum(count > 0 for count in one.diary.count) for one in followers)} of them digests;"
        f" {sum(one.connects for one in followers)} connections"
    )
    assert len(log) > 2 * seconds
    if found := [trace for instance in (*fleet.instances, *fleet.retired) for trace in _tracebacks(instance.log)]:
        pytest.fail("\n\n".join(found))


def _tracebacks(log: str) -> list[str]:
    """Return the first tracebacks of a log, each with what stands around it."""
    return [log[max(0, found.start() - 500) : found.start() + 5000] for found in re.finditer("Traceback", log)][:3]


@dataclass
class Run:
    """Clients, writers and faults, all at once."""

    stage: Stage
    followers: list[Follower]
    writers: Writers
    faults: Faults

    async def play(self, seconds: float, seed: str) -> None:
        """Let it rage for so long, then wait until every client has everything."""
        following = [asyncio.create_task(follower.follow()) for follower in self.followers]
        pest = asyncio.create_task(annoy(self.followers, seed, 20 if seconds > LULL else 10))
        began = told = time.monotonic()
        with self.writers:
            with self.faults:
                while (now := time.monotonic()) < began + seconds:
                    await asyncio.sleep(0.5)
                    if now > told + max(5, seconds / 40):
                        told = now
                        self.stage.say(self._line(now - began))
                pest.cancel()
                await asyncio.to_thread(self.faults.stop)
            await asyncio.to_thread(self.writers.stop)
        await self._settle()
        for task in following:
            task.cancel()
        await asyncio.gather(*following, pest, return_exceptions=True)

    async def _settle(self) -> None:
        calm = time.monotonic()
        last = sequence(await asyncio.to_thread(self.stage.newest))
        while True:
            behind = sum(follower.position < last for follower in self.followers)
            took = time.monotonic() - calm
            if not behind or took > SETTLED:
                break
            await asyncio.sleep(0.1)
        self.stage.say(
            f"chaos: {behind} clients lack something {took:.1f} s after the end of {Counter(self.faults.done)}"
        )

    def _line(self, at: float) -> str:
        connected = sum(follower.connected for follower in self.followers)
        return (
            f"  {at:.0f} s: {connected} of {len(self.followers)} connected, {self.writers.committed} events,"
            f" {sum(len(follower.diary) for follower in self.followers)} deliveries, {len(self.faults.done)} faults,"
            f" {self.writers.failed} transactions broken"
        )
