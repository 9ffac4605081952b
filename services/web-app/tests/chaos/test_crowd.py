"""A crowd at the door of an instance that cannot serve it: nobody else suffers, and it gets in when it can."""

import time
from collections.abc import Callable
from contextlib import ExitStack

import psycopg
import pytest

from tests.chaos.conftest import Stage
from tests.chaos.faults import Fleet
from tests.chaos.wire import Peer, request
from tests.edge.process import InstanceProcess

pytestmark = pytest.mark.chaos
CROWD = 60
HANDSHAKE_TIMEOUT = 4.0  # seconds
IN = 60.0  # seconds in which all have to be let in, also on a slow day


def test_handshakes_that_hang_in_the_database_leave_it_to_others_and_are_refused_in_time(
    stage: Stage, start_fleet: Callable[..., Fleet]
) -> None:
    fleet = start_fleet(count=1, database_pool_size=4, handshake_timeout=HANDSHAKE_TIMEOUT)
    (instance,) = fleet.instances
    hello = request(stage.people["admin"].headers)
    with psycopg.connect(stage.database.admin_url) as locking, ExitStack() as stack, instance.client() as client:
        locking.execute("LOCK TABLE api_token IN ACCESS EXCLUSIVE MODE")
        peers = [stack.enter_context(Peer(instance.http_socket)) for _ in range(CROWD)]
        began = time.monotonic()
        for peer in peers:
            peer.send(hello)
        while time.monotonic() < began + HANDSHAKE_TIMEOUT / 2:
            assert client.get("/readyz").status_code == 200
        assert {peer.status() for peer in peers} == {503}
        assert time.monotonic() - began < HANDSHAKE_TIMEOUT + 3
    with ExitStack() as stack:
        refused = _knock(stack, instance, hello, CROWD)
        assert refused <= CROWD // 2, "the database is there, and most find no room in time"
        ends_at = time.monotonic() + IN
        while refused:
            assert time.monotonic() < ends_at, f"{refused} are refused again and again"
            refused = _knock(stack, instance, hello, refused)
    assert "Traceback" not in instance.log


def _knock(stack: ExitStack, instance: InstanceProcess, hello: bytes, number: int) -> int:
    """Let so many ask to be let in at once, and return how many were refused; the others stay."""
    peers = [stack.enter_context(Peer(instance.http_socket)) for _ in range(number)]
    for peer in peers:
        peer.send(hello)
    answers = [peer.status() for peer in peers]
    assert set(answers) <= {101, 503}
    return answers.count(503)
