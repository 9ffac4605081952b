"""A drain: clients move to another instance at a steady pace, and nothing is lost or repeated on the way."""

import asyncio
import time
from collections.abc import Callable, Sequence

import httpx
import pytest

from tests.chaos.conftest import Stage
from tests.chaos.crowd import following, run, until
from tests.chaos.faults import Fleet
from tests.chaos.follower import Follower, sequence
from tests.chaos.ledger import read_log
from tests.edge.process import InstanceProcess

pytestmark = pytest.mark.chaos
MARGIN = 2.0  # seconds that an answer may take on a busy machine


@pytest.mark.parametrize(
    ("clients", "seconds", "rate"),
    [
        pytest.param(200, 4, 100, id="short"),
        pytest.param(2000, 20, 200, id="long", marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)
def test_a_drain_moves_every_client_in_time_at_the_set_rate_without_loss(
    stage: Stage, start_fleet: Callable[..., Fleet], clients: int, seconds: int, rate: int
) -> None:
    fleet = start_fleet(reconnects_per_second=rate)
    leaving, staying = fleet.instances
    at = [leaving]  # where the balancer sends who comes
    names = sorted(stage.people)
    began = stage.newest()
    followers = [
        stage.follower(names[number % len(names)], f"drain-{number}", lambda _: at[0].http_socket)
        for number in range(clients)
    ]
    took = run(_drain(followers, at, staying, seconds, stage))
    # Where the other instance is slow to take somebody in, that client tries again by its own rules: not counted.
    busiest = _busiest_second([follower.arrivals[1] for follower in followers])
    stage.say(f"drain: {clients} clients in {took:.1f} s of {seconds}, at most {busiest} arrivals in a second ({rate})")
    assert took <= seconds + MARGIN
    assert busiest <= rate * 1.1  # one batch more: batches are a tenth of a second
    stage.judge(followers, read_log(stage.database, sequence(began)), "drain")
    assert leaving.stop() == 0
    assert "Traceback" not in leaving.log + staying.log


async def _drain(
    followers: Sequence[Follower],
    at: list[InstanceProcess],
    staying: InstanceProcess,
    seconds: int,
    stage: Stage,
) -> float:
    """Move everybody, wait until they have everything, and return how long it took until the drain was answered."""
    async with following(followers):
        leaving, at[0] = at[0], staying
        with leaving.admin() as admin:
            admin.timeout = seconds + 60
            with stage.happening(stage.world.hosts[0], every=0.2) as happened:
                # In a thread of its own: this loop is busy with all the clients.
                answer, took = await asyncio.to_thread(_ask_to_drain, admin, seconds)
                assert answer.json()["drained"] == len(followers)
                assert (await asyncio.to_thread(admin.get, "/status")).json()["clients"] == 0
                await until(lambda: all(follower.connected for follower in followers), 60, "connected again")
                assert len(happened) > seconds, "hardly anything happened meanwhile"
        last = sequence(await asyncio.to_thread(stage.newest))
        await until(lambda: all(follower.position >= last for follower in followers), 30, "up to date")
    return took


def _ask_to_drain(admin: httpx.Client, seconds: int) -> tuple[httpx.Response, float]:
    """Drain; return the answer and the seconds that it took."""
    began = time.monotonic()
    answer = admin.post("/drain", params={"seconds": seconds})
    return answer, time.monotonic() - began


def _busiest_second(times: Sequence[float]) -> int:
    """Return the greatest number of `times` in any window of a second."""
    ordered = sorted(times)
    begin = busiest = 0
    for end, moment in enumerate(ordered):
        while moment - ordered[begin] > 1:
            begin += 1
        busiest = max(busiest, end - begin + 1)
    return busiest


def test_a_drain_that_cannot_keep_the_rate_is_refused_and_changes_nothing(
    stage: Stage, start_fleet: Callable[..., Fleet]
) -> None:
    fleet = start_fleet(count=1, reconnects_per_second=5)
    (instance,) = fleet.instances
    followers = [stage.follower("admin", f"refused-{number}", lambda _: instance.http_socket) for number in range(20)]

    async def ask() -> None:
        async with following(followers):
            with instance.admin() as admin:
                answer = admin.post("/drain", params={"seconds": 1})
                problem = answer.json()
                assert (answer.status_code, problem["code"]) == (409, "drain_too_short")
                assert problem["next"].endswith(" --seconds 5"), "the command that does it"
                assert admin.get("/status").json()["clients"] == 20
            stage.happen(None)
            last = sequence(stage.newest())
            await until(lambda: all(follower.position >= last for follower in followers), 10, "told")

    run(ask())
    assert all(follower.connects == 1 for follower in followers)
