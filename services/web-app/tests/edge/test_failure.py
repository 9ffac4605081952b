"""What an instance does while Redis or PostgreSQL is away, and on its admin socket."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
import pytest
from websockets.exceptions import InvalidStatus

from app.cli import admin_socket
from app.domain.envelope import StoredEvent
from tests.edge.browser import Browser
from tests.edge.conftest import World
from tests.edge.forwarder import Forwarder
from tests.edge.process import InstanceProcess, eventually
from tests.services import Database

LATE = 2.0  # seconds that an event may take while Redis is away
SLOW_POLL = 5.0  # seconds between reads of the log without a wake-up
SignIn = Callable[..., Browser]
Happen = Callable[..., StoredEvent]


@dataclass
class Fragile:
    """An instance whose ways to its services can be cut."""

    instance: InstanceProcess
    redis: Forwarder
    database: Forwarder


@pytest.fixture(scope="module")
def cuttable(session_database: Database, start_instance: Callable[..., InstanceProcess]) -> Iterator[Fragile]:
    settings = session_database.settings("web")
    redis = Forwarder(settings.redis_host, settings.redis_port)
    database = Forwarder(settings.database_host, settings.database_port)
    instance = start_instance(
        redis_host="127.0.0.1",
        redis_port=redis.port,
        database_host="127.0.0.1",
        database_port=database.port,
        log_poll_interval=SLOW_POLL,
    )
    yield Fragile(instance, redis, database)
    instance.stop()


@pytest.fixture
def fragile(cuttable: Fragile, world: World, happen: Happen) -> Fragile:
    assert world
    first = str(happen("first").cursor)
    with cuttable.instance.admin() as admin:
        eventually(lambda: admin.get("/status").json()["cursor"] == first)
    return cuttable


def test_events_arrive_within_two_seconds_while_redis_is_away_and_at_once_after_it_is_back(
    fragile: Fragile, sign_in: SignIn, happen: Happen, world: World
) -> None:
    browser = sign_in("admin", fragile.instance)
    public = fragile.instance.client()
    with browser.feed() as feed:
        feed.next()
        fragile.redis.cut()
        try:
            eventually(lambda: public.get("/readyz").json()["redis"] == "degraded")
            assert public.get("/readyz").status_code == 200
            eventually(lambda: feed.heartbeat()["data"]["state"] == "delayed")
            happen("while Redis is away", publish=False)
            happened = time.monotonic()
            assert feed.next()["data"]["task_name"] == "while Redis is away"
            assert time.monotonic() - happened < LATE
            # A click is accepted, and this instance tells its own clients at once.
            run = browser.http.post(f"/api/scheduled-tasks/{world.tasks[0]}/run")
            assert run.status_code == 202
            assert feed.next()["data"]["task_run_id"] == run.json()["id"]
            eventually(lambda: "Could not publish" in fragile.instance.log)
        finally:
            fragile.redis.mend()
        eventually(lambda: public.get("/readyz").json()["redis"] == "ok")
        eventually(lambda: feed.heartbeat()["data"]["state"] == "live")
        happen("after Redis is back")
        assert feed.next()["data"]["task_name"] == "after Redis is back"
        # The log has just been read: without a wake-up that happens again in SLOW_POLL.
        happened = time.monotonic()
        happen("and at once")
        assert feed.next()["data"]["task_name"] == "and at once"
        assert time.monotonic() - happened < SLOW_POLL - 1


def test_a_half_open_link_to_redis_is_found_out_and_replaced(fragile: Fragile, sign_in: SignIn) -> None:
    with sign_in("admin", fragile.instance).feed() as feed:
        feed.next()
        fragile.redis.freeze()
        try:
            eventually(lambda: feed.heartbeat()["data"]["state"] == "delayed")
        finally:
            fragile.redis.mend()
        eventually(lambda: feed.heartbeat()["data"]["state"] == "live")


def test_an_instance_all_of_whose_connections_are_at_work_for_pages_is_still_ready(
    instance: InstanceProcess, sign_in: SignIn, session_database: Database
) -> None:
    browser, public = sign_in("admin", instance), instance.client()
    with psycopg.connect(session_database.admin_url) as held, ThreadPoolExecutor(30) as pool:
        held.execute("LOCK TABLE host IN ACCESS EXCLUSIVE MODE")
        asked = [pool.submit(browser.http.get, "/api/hosts") for _ in range(30)]
        until = time.monotonic() + 6
        while time.monotonic() < until:
            answer = public.get("/readyz")
            assert answer.status_code == 200, answer.text
            time.sleep(0.2)
        held.rollback()
    assert {request.result().status_code for request in asked} <= {200, 503}


def test_an_instance_without_its_database_is_not_ready_says_why_and_recovers_without_loss(
    fragile: Fragile, sign_in: SignIn, happen: Happen
) -> None:
    browser = sign_in("admin", fragile.instance)
    public = fragile.instance.client()
    with browser.feed() as feed:
        feed.next()
        fragile.database.cut()
        try:
            eventually(lambda: public.get("/readyz").status_code == 503)
            answer = public.get("/readyz")
            assert (answer.json()["code"], answer.json()["release"]) == ("database_unavailable", "release-7")
            assert public.get("/health").status_code == 200
            refused = browser.http.get("/api/hosts")
            assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
            assert refused.headers["Retry-After"]
            happen("while the database is away for this instance")
            eventually(lambda: feed.heartbeat()["data"]["state"] == "stale")
            assert feed.heartbeat()["data"]["age"] > 0
        finally:
            fragile.database.mend()
        eventually(lambda: public.get("/readyz").status_code == 200)
        assert feed.next()["data"]["task_name"] == "while the database is away for this instance"
        eventually(lambda: feed.heartbeat()["data"]["state"] == "live")
    assert "Traceback" not in fragile.instance.log


def test_the_sockets_have_the_modes_that_their_users_need(instance: InstanceProcess) -> None:
    assert instance.http_socket.stat().st_mode & 0o777 == 0o660
    assert instance.admin_socket.stat().st_mode & 0o777 == 0o600


def test_the_admin_socket_tells_status_and_metrics(
    instance: InstanceProcess, sign_in: SignIn, session_database: Database
) -> None:
    digest = "sha256:" + "c3" * 32
    session_database.execute(
        "INSERT INTO scan_host (zone, name, executor, database_digest, database_modified_at)"
        f" VALUES ('default', 'scan-1', 'degraded', '{digest}', now() - interval '2 days')"
    )
    with sign_in("admin").feed() as feed, instance.admin() as admin:
        feed.next()
        status = admin.get("/status").json()
        assert (status["ready"], status["clients"], status["users"]) == (True, 1, 1)
        assert (status["instance"], status["release"], status["redis"]) == ("test:1", "release-7", "ok")
        metrics = admin.get("/metrics").text
    assert "vuls_clients 1.0" in metrics
    assert "vuls_redis_connected 1.0" in metrics
    assert "process_resident_memory_bytes" in metrics
    assert 'vuls_scan_host_state{scan_host="scan-1",state="degraded",zone="default"} 1.0' in metrics
    info = f'vuls_vulnerability_database_info{{digest="{digest}",scan_host="scan-1",zone="default"}} 1.0'
    assert info in metrics
    (age,) = re.findall(r"^vuls_vulnerability_database_age_seconds\{.*\} (\S+)$", metrics, re.MULTILINE)
    assert float(age) == pytest.approx(2 * 86400, abs=3600)


def test_metrics_count_refusals_resyncs_and_runs(
    instance: InstanceProcess, sign_in: SignIn, session_database: Database, world: World
) -> None:
    def value(line: str) -> float:
        with instance.admin() as admin:
            found = re.search(f"^{re.escape(line)} (.*)$", admin.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    refused, resyncs = 'vuls_refused_total{code="not_signed_in"}', 'vuls_resyncs_total{reason="other_epoch"}'
    before = value(refused), value(resyncs)
    with pytest.raises(InvalidStatus), Browser(instance).feed():
        pass
    assert value(refused) == before[0] + 1
    admin = sign_in("admin")
    with admin.feed(since="aaaa-1") as feed:
        while feed.next()["type"] != "resync_required":
            pass
    assert value(resyncs) == before[1] + 1
    assert admin.http.get("/api/notifications", params={"since": "aaaa-1"}).status_code == 410
    assert value(resyncs) == before[1] + 2
    session_database.execute(
        "INSERT INTO run (task_name, host_id, zone, scan_type, status, trigger, result_data, created_at, started_at,"
        " finished_at)"
        f" SELECT 'Scan', {world.hosts[0]}, zone, 'fast', status, 'manual', '{{}}', now() - interval '3 hours',"
        " began, ended FROM (VALUES ('default', 'queued', null, null), ('default', 'queued', null, null),"
        " ('dmz', 'started', now() - interval '2 hours', null), ('dmz', 'failed', now(), now()),"
        " ('dmz', 'failed', now(), now() - interval '2 hours'))"
        " AS v (zone, status, began, ended)"
    )
    assert value('vuls_runs{status="queued",zone="default"}') == 2
    assert value('vuls_runs{status="started",zone="dmz"}') == 1
    assert value('vuls_oldest_run_age_seconds{status="queued",zone="default"}') == pytest.approx(3 * 3600, abs=900)
    assert value('vuls_oldest_run_age_seconds{status="started",zone="dmz"}') == pytest.approx(2 * 3600, abs=900)
    assert value('vuls_runs_ended_last_hour{status="failed"}') == 1
    session_database.execute("DELETE FROM run")


def test_a_drained_instance_takes_no_clients_and_sends_the_others_away(
    start_instance: Callable[..., InstanceProcess], sign_in: SignIn
) -> None:
    leaving = start_instance()
    browser = sign_in("admin", leaving)
    with browser.feed() as feed, leaving.admin() as admin:
        feed.next()
        assert admin.post("/drain", params={"seconds": 0.5}).json() == {"drained": 1, "instance": "test:1"}
        assert feed.next()["type"] == "reconnect"
        assert feed.close_code() == 1012
        assert leaving.client().get("/readyz").json()["code"] == "draining"
        # The status on which the balancer asks another instance; see roles/nginx.
        stream = browser.http.get("/api/events")
        assert (stream.status_code, stream.json()["code"]) == (502, "draining")
        with pytest.raises(InvalidStatus) as refused, browser.feed():
            pass
        assert refused.value.response.status_code == 502
        assert browser.http.get("/api/auth/me").status_code == 200
    assert leaving.stop() == 0
    assert not leaving.admin_socket.exists()


def test_a_drain_with_too_little_time_is_refused_with_the_command_that_does_it(
    start_instance: Callable[..., InstanceProcess], sign_in: SignIn, capsys: pytest.CaptureFixture[str]
) -> None:
    instance = start_instance(reconnects_per_second=0.1)
    with sign_in("admin", instance).feed() as feed:
        feed.next()
        with pytest.raises(SystemExit):
            admin_socket.ask(instance.admin_socket, "POST", "/drain", seconds=10)
        assert instance.client().get("/readyz").status_code == 200
    assert "Next: run: vulsctl drain 1 --seconds 12" in capsys.readouterr().err


def test_the_log_has_no_query_strings_and_no_access_lines(
    instance: InstanceProcess, sign_in: SignIn, happen: Happen
) -> None:
    since = happen("one")
    with sign_in("admin").feed(str(since.cursor)) as feed:
        feed.next()
    instance.client().get("/health", params={"private": "value"})
    eventually(lambda: "WebSocket of admin opened" in instance.log)
    assert "since=" not in instance.log
    assert "private" not in instance.log


def test_the_documented_lines_are_logged(instance: InstanceProcess, happen: Happen) -> None:
    happen("one")
    eventually(lambda: "Forwarded notification to WebSocket clients: success" in instance.log)
    assert "Redis notification subscriber started" in instance.log
