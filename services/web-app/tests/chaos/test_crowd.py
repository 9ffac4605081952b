"""A crowd at the door of an instance that cannot serve it: nobody else suffers, and it gets in when it can."""

import time
from collections.abc import Callable
from contextlib import ExitStack

import psycopg
import pytest

from tests.chaos.conftest import Stage
from tests.chaos.faults import Fleet
from tests.chaos.wire import Peer, request

pytestmark = pytest.mark.chaos
CROWD = 60
HANDSHAKE_TIMEOUT = 4.0  # seconds


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
        peers = [stack.enter_context(Peer(instance.http_socket)) for _ in range(CROWD)]
        for peer in peers:
            peer.send(hello)
        assert {peer.status() for peer in peers} <= {101, 503}
        assert peers[0].last_status == 101
    assert "Traceback" not in instance.log
