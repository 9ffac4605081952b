"""Clients that never read: they cost themselves, never the others, and hold up nothing."""

import asyncio
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.chaos.conftest import Stage
from tests.chaos.crowd import following, run, until
from tests.chaos.faults import Fleet
from tests.chaos.follower import Follower, sequence
from tests.chaos.ledger import read_log
from tests.chaos.measure import resident
from tests.chaos.wire import Peer, request
from tests.edge.process import InstanceProcess, eventually

pytestmark = pytest.mark.chaos
STALLED = 10
ROUNDS = 7  # of each kind, in turn
TIMES_WORSE = 5  # of the 99th percentile; what is printed is the finding, this is only a net below it
GROWTH = 20  # MiB
DRAIN = 2  # seconds
STOP = 15.0  # seconds; five for clients to read their close, and what the end of a server takes. Held up, it takes 20
BIG = 4000  # bytes; a hundred such events fill every buffer between the two ends


class Watch:
    """The seconds from commit to arrival, over all clients."""

    def __init__(self, followers: Sequence[Follower]) -> None:
        self.seconds: list[float] = []
        for follower in followers:
            follower.listener = self._hear

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "task_update":
            self.seconds.append(time.monotonic() - float(message["data"]["task_name"]))

    def take(self) -> float:
        """Return the 99th percentile in milliseconds, and begin anew."""
        ordered = sorted(self.seconds)
        self.seconds = []
        return ordered[math.ceil(len(ordered) * 0.99) - 1] * 1000


@pytest.mark.parametrize(
    ("clients", "seconds"),
    [
        pytest.param(60, 1.0, id="short"),
        pytest.param(300, 10.0, id="long", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_ten_clients_that_never_read_harm_nobody_and_lose_nothing(
    stage: Stage, start_fleet: Callable[..., Fleet], clients: int, seconds: float
) -> None:
    fleet = start_fleet(count=1, slow_client_seconds=3600, digest_rate=1e9)
    (instance,) = fleet.instances
    began = stage.newest()
    names = sorted(stage.people)
    followers = [
        stage.follower(names[number % len(names)], f"reads-{number}", fleet.choose) for number in range(clients)
    ]
    late = [stage.follower("admin", f"stalled-{number}", fleet.choose) for number in range(STALLED)]
    with_them, without = run(_compare(stage, instance, followers, late, seconds))
    stage.say(
        f"p99 without stalled clients: {_spread(without)}; with {STALLED} of them: {_spread(with_them)}"
        f" ({clients} clients, {ROUNDS} alternating rounds)"
    )
    log = read_log(stage.database, sequence(began))
    stage.judge(followers, log, "reads")
    stage.judge(late, log, "stalled")
    assert statistics.median(with_them) < TIMES_WORSE * statistics.median(without)


async def _compare(
    stage: Stage, instance: InstanceProcess, followers: Sequence[Follower], late: Sequence[Follower], seconds: float
) -> tuple[list[float], list[float]]:
    """Return the percentiles of the rounds with stalled clients and of those without."""
    found: dict[bool, list[float]] = {True: [], False: []}
    async with following(followers):
        watch = Watch(followers)
        for number in range(2 * ROUNDS + 1):
            with ExitStack() as stack:
                if stalled := number % 2 == 1:
                    before = resident(instance)
                    await asyncio.to_thread(stack.enter_context, stalled_clients(stage, instance))
                percentile = await _round(stage, followers, watch, seconds)
                if number:  # the first one warms up
                    found[stalled].append(percentile)
                if stalled:
                    grown = resident(instance) - before
                    assert grown < GROWTH, f"{STALLED} stalled clients cost {grown:.1f} MiB"
        # Those that did not read come back with the cursor they had.
        async with following(late):
            last = sequence(await asyncio.to_thread(stage.newest))
            await until(lambda: all(one.position >= last for one in (*late, *followers)), 30, "up to date")
    return found[True], found[False]


async def _round(stage: Stage, followers: Sequence[Follower], watch: Watch, seconds: float) -> float:
    with stage.happening(stage.world.hosts[0], every=0.02, size=1000):
        last = sequence(await asyncio.to_thread(stage.newest))
        await until(lambda: all(one.position >= last for one in followers), 30, "up to date")
        watch.take() if watch.seconds else None
        await asyncio.sleep(seconds)
        return watch.take()


def _spread(found: Sequence[float]) -> str:
    return f"median {statistics.median(found):.1f} ms ({min(found):.1f} to {max(found):.1f})"


@contextmanager
def stalled_clients(stage: Stage, instance: InstanceProcess) -> Iterator[None]:
    """Connect clients that never read, and fill what lies between them and the instance."""
    with ExitStack() as stack, instance.admin() as admin:
        for _ in range(STALLED):
            peer = stack.enter_context(Peer(instance.http_socket))
            peer.send(request(stage.people["admin"].headers))
            assert peer.status() == 101

        def all_lag() -> bool:
            for _ in range(20):
                stage.happen(stage.world.hosts[0], size=BIG)
            return f"vuls_lagging {STALLED}.0" in admin.get("/metrics").text

        eventually(all_lag, 60)
        yield


def test_clients_that_never_read_hold_up_neither_a_drain_nor_a_stop(
    stage: Stage, start_fleet: Callable[..., Fleet]
) -> None:
    fleet = start_fleet(slow_client_seconds=3600)
    drained, stopped = fleet.instances
    with stalled_clients(stage, drained), stalled_clients(stage, stopped):
        with drained.admin() as admin:
            began = time.monotonic()
            drained_clients = admin.post("/drain", params={"seconds": DRAIN}).json()["drained"]
            # Less than the five seconds more that those who do not read their close are given.
            assert time.monotonic() - began < DRAIN + 4
            assert drained_clients == STALLED
        for instance in (drained, stopped):
            began = time.monotonic()
            assert instance.stop() == 0
            assert time.monotonic() - began < STOP
            assert "Traceback" not in instance.log
