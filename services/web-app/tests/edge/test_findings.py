"""Scans and findings over HTTP: worst first, in pages, by what changed, and truthful about scans that failed."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import psycopg
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.db.engine import make_engine, session_factory
from app.db.models import ScheduledTask
from app.db.runs import claim_run, create_run
from app.db.scans import end_run
from app.domain.verdict import judge
from tests.edge.browser import Browser, problem
from tests.edge.conftest import World
from tests.recordings import Recording
from tests.services import Database

SignIn = Callable[..., Browser]
Scan = Callable[[dict[str, Any]], dict[str, Any]]
DOWN = Recording("scan-unreachable").result("down")


@pytest.fixture
def scan(session_database: Database, world: World) -> Iterator[Scan]:
    """Scan the first host and store the result; returns what the run says."""
    engine = make_engine(session_database.settings("cli"))
    sessions: sessionmaker[Session] = session_factory(engine)

    def store(document: dict[str, Any]) -> dict[str, Any]:
        with sessions.begin() as session:
            run, _ = create_run(session, session.get_one(ScheduledTask, world.tasks[0]), "manual")
            claim = claim_run(session, run.id, "worker", 30)
            assert claim is not None
            ended = end_run(session, claim.run, judge(0, 0, document, [], host="host-1"), document)[0]
            result: dict[str, Any] = ended.data["result_data"]
            return result

    yield store
    engine.dispose()


def recorded(name: str, **changes: Any) -> dict[str, Any]:
    return Recording(name).result("t1") | changes


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["cve_id"].removeprefix("CVE-2099-") for item in answer["items"]]


def test_a_host_that_was_never_scanned_says_so(sign_in: SignIn, world: World) -> None:
    http = sign_in("viewer-1").http
    assert http.get(f"/api/hosts/{world.hosts[0]}/findings").json() == {
        "scan_id": None, "verdict": None, "latest": None, "assessment": None, "items": [], "next": None,
    }  # fmt: skip
    (host,) = http.get("/api/hosts").json()["items"]
    assert (host["latest"], host["assessment"]) == (None, None)


def test_scans_and_findings_are_shown_worst_first(sign_in: SignIn, world: World, scan: Scan) -> None:
    scan_id = scan(recorded("report-ok"))["scan_id"]
    http = sign_in("viewer-1").http
    shown = http.get(f"/api/scans/{scan_id}").json()
    latest = http.get(f"/api/hosts/{world.hosts[0]}/findings").json()
    assert ids({"items": shown["findings"]}) == ids(latest)
    order = ["critical", "high", "medium", "low", "unknown"]
    severities = [item["severity"] for item in latest["items"]]
    assert severities == sorted(severities, key=order.index)
    assert (shown["host_name"], shown["verdict"], shown["package_count"]) == ("host-1", "assessed", 171)
    assert (latest["scan_id"], latest["verdict"], len(latest["items"])) == (scan_id, "assessed", 9)
    worst = latest["items"][0]
    assert worst["links"]
    assert worst["packages"]
    assert (worst["change"], worst["first_seen_at"]) == ("baseline", worst["changed_at"])
    problem(sign_in("viewer-2").http.get(f"/api/scans/{scan_id}"), 404, "not_found")


@pytest.mark.parametrize("limit", [1, 2, 4, 9, 10])
def test_pages_bring_each_finding_once_and_in_order(sign_in: SignIn, world: World, scan: Scan, limit: int) -> None:
    scan(recorded("report-ok"))
    http = sign_in("viewer-1").http
    path = f"/api/hosts/{world.hosts[0]}/findings"
    whole = ids(http.get(path).json())
    read: list[str] = []
    after = None
    while after or not read:
        part = http.get(path, params={"limit": limit} | ({"after": after} if after else {})).json()
        assert 0 < len(part["items"]) <= limit
        read += ids(part)
        after = part["next"]
    assert read == whole
    assert len(read) == 9


def test_a_large_scan_is_shown_in_parts(sign_in: SignIn, scan: Scan) -> None:
    whole = recorded("report-ok")
    cve = whole["scannedCves"]["CVE-2099-0001"]
    many = {f"CVE-2099-{number}": cve | {"cveID": f"CVE-2099-{number}"} for number in range(1000, 1250)}
    first = scan(whole | {"scannedCves": many})["scan_id"]
    second = scan(whole | {"scannedCves": {}})["scan_id"]
    http = sign_in("viewer-1").http

    def read(path: str, part: list[dict[str, Any]], following: str | None, state: str) -> list[str]:
        assert (len(part), following is None) == (100, False)
        seen = ids({"items": part})
        while following:
            answer = http.get(path, params={"after": following, "state": state, "limit": 70}).json()
            seen += ids(answer)
            following = answer["next"]
        return seen

    expected = [str(number) for number in range(1000, 1250)]
    shown = http.get(f"/api/scans/{first}").json()
    assert read(f"/api/scans/{first}/findings", shown["findings"], shown["findings_next"], "found") == expected
    changes = http.get(f"/api/scans/{second}").json()["changes"]
    assert read(f"/api/scans/{second}/findings", changes["fixed_findings"], changes["fixed_next"], "fixed") == expected
    assert http.get(f"/api/scans/{first}/findings", params={"state": "fixed"}).json() == {"items": [], "next": None}
    problem(http.get(f"/api/scans/{second}/findings", params={"after": shown["findings_next"]}), 422, "invalid")
    problem(sign_in("viewer-2").http.get(f"/api/scans/{first}/findings"), 404, "not_found")


def test_the_packages_of_a_scan_are_listed_in_parts(sign_in: SignIn, scan: Scan) -> None:
    odd = {
        "zzz": {"name": "zzz", "version": "1.0", "release": "2", "newVersion": "1.1", "arch": "amd64"},
        "\x1b[31m<b>": {"version": 7, "newVersion": None},
        "none": "no object",
    }
    document = recorded("report-ok")
    scan_id = scan(document | {"packages": document["packages"] | odd})["scan_id"]
    http = sign_in("viewer-1").http
    path = f"/api/scans/{scan_id}/packages"
    first = http.get(path).json()
    second = http.get(path, params={"after": first["next"]}).json()
    names = [item["name"] for item in first["items"] + second["items"]]
    assert (len(first["items"]), len(second["items"]), second["next"]) == (100, 74, None)
    assert set(names) == set(document["packages"]) | {"zzz", "none", "[31m<b>"}
    nothing = {"version": "", "new_version": None, "arch": None, "repository": None}
    assert first["items"][0] == nothing | {"name": "[31m<b>"}
    assert second["items"][-1] == nothing | {"name": "zzz", "version": "1.0-2", "new_version": "1.1", "arch": "amd64"}
    assert {"name": "none"} | nothing in first["items"] + second["items"]
    problem(sign_in("viewer-2").http.get(path), 404, "not_found")


def test_parts_of_two_scans_are_no_list(sign_in: SignIn, world: World, scan: Scan) -> None:
    http = sign_in("viewer-1").http
    path = f"/api/hosts/{world.hosts[0]}/findings"
    scan(recorded("report-ok"))
    part = http.get(path, params={"limit": 4}).json()
    scan(DOWN)  # it assesses nothing, so the list is the same
    assert len(http.get(path, params={"after": part["next"]}).json()["items"]) == 5
    scan(recorded("report-ok-next"))
    problem(http.get(path, params={"after": part["next"]}), 409, "scan_replaced")


@pytest.mark.parametrize(
    "after",
    [
        *("", "1", "0_1.0_CVE-1", "7_9_1.0_CVE-1", "7_0_1.0_", "7_0_x_CVE-1", "7_0_1.0_CVE-1\x00", "7_0_1.0_CVE-1\n"),
        *("7_0_1.0_" + "C" * 65, "9" * 19 + "_0_1.0_CVE-1"),
    ],
)
def test_a_place_that_is_none_is_refused(sign_in: SignIn, world: World, after: str) -> None:
    answer = sign_in("viewer-1").http.get(f"/api/hosts/{world.hosts[0]}/findings", params={"after": after})
    problem(answer, 422, "invalid")


def test_what_the_last_assessed_scan_changed_can_be_asked_for(sign_in: SignIn, world: World, scan: Scan) -> None:
    http = sign_in("viewer-1").http

    def changed(state: str) -> list[str]:
        answer = http.get(f"/api/hosts/{world.hosts[0]}/findings", params={"state": state})
        return sorted(ids(answer.raise_for_status().json()))

    states = ("new", "fixed", "reappeared", "severity_changed")
    scan(recorded("report-ok"))
    assert {state: changed(state) for state in states} == {state: [] for state in states}
    scan(recorded("report-ok-next"))
    after_next: dict[str, list[str]] = {"new": ["0011", "0012"], "fixed": ["0009"], "reappeared": []}
    assert {state: changed(state) for state in after_next} == after_next
    scan(DOWN)  # it changes nothing
    scan(recorded("report-ok-next", reportedVersion=""))  # nor does this
    assert {state: changed(state) for state in after_next} == after_next
    assert len(changed("open")) == 10
    scan(recorded("report-ok"))
    assert {state: changed(state) for state in ("new", "reappeared")} == {"new": [], "reappeared": ["0009"]}
    problem(http.get(f"/api/hosts/{world.hosts[0]}/findings", params={"state": "gone"}), 422, "invalid")


def test_changed_findings_are_told_to_those_who_may_see_the_host(sign_in: SignIn, scan: Scan) -> None:
    readers = {name: sign_in(name).http for name in ("admin", "viewer-1", "viewer-2")}
    since = readers["admin"].get("/api/overview").json()["cursor"]
    scan(recorded("report-ok"))
    scan(recorded("report-ok-next"))

    def told(name: str) -> list[str]:
        items = readers[name].get("/api/notifications", params={"since": since}).json()["items"]
        return [item["type"] for item in items]

    assert told("viewer-2") == []
    assert told("admin") == told("viewer-1")
    assert told("viewer-1")[-2:] == ["task_update", "findings_changed"]
    assert told("viewer-1").count("findings_changed") == 1


def test_a_scan_says_what_it_changed_whatever_later_ones_did(sign_in: SignIn, scan: Scan) -> None:
    http = sign_in("viewer-1").http
    names = ["report-ok", "scan-ok", "report-ok-next", "report-ok", "report-ok-next"]
    first, unassessed, second, third, fourth = (
        http.get(f"/api/scans/{scan(recorded(name))['scan_id']}").json()["id"] for name in names
    )

    def changes(scan_id: int) -> dict[str, list[str]]:
        shown = http.get(f"/api/scans/{scan_id}").json()
        told = {kind: shown["changes"][kind]["cve_ids"] for kind in ("new", "reappeared", "fixed")}
        for kind in ("new", "reappeared"):
            assert told[kind] == sorted(item["cve_id"] for item in shown["findings"] if item["change"] == kind)
        assert told["fixed"] == sorted(item["cve_id"] for item in shown["changes"]["fixed_findings"])
        return {kind: [cve_id.removeprefix("CVE-2099-") for cve_id in told[kind]] for kind in told}

    for scan_id in (first, unassessed):
        assert http.get(f"/api/scans/{scan_id}").json()["changes"] is None
    assert changes(second) == {"new": ["0011", "0012"], "reappeared": [], "fixed": ["0009"]}
    assert changes(third) == {"new": [], "reappeared": ["0009"], "fixed": ["0011", "0012"]}
    assert changes(fourth) == {"new": [], "reappeared": ["0011", "0012"], "fixed": ["0009"]}
    assert http.get(f"/api/scans/{third}").json()["changes"]["since_scan_id"] == second


def test_the_host_list_has_the_counts_of_the_last_assessed_scan_and_the_verdict_of_the_latest_run(
    sign_in: SignIn, world: World, scan: Scan, database: Database
) -> None:
    http = sign_in("admin").http
    assessed = scan(recorded("report-ok", runningKernel={"rebootRequired": True}))
    counts = {"critical": 2, "high": 2, "medium": 3, "low": 1, "unknown": 1}
    database.execute("UPDATE scan SET counts = NULL")  # as a worker of the release before leaves it
    assert http.get("/api/hosts").json()["items"][0]["assessment"]["counts"] == counts
    for document, verdict in ((None, "assessed"), (recorded("scan-ok"), "not_assessed"), (DOWN, "failed")):
        if document is not None:
            scan(document)
        first, second = http.get("/api/hosts").json()["items"]
        assert first == http.get(f"/api/hosts/{world.hosts[0]}").json()
        assert first["latest"]["verdict"] == verdict
        assert (first["latest"]["reason"] is None) is (verdict == "assessed")
        assert first["assessment"]["counts"] == counts
        assert (first["assessment"]["scan_id"], first["assessment"]["reboot_required"]) == (assessed["scan_id"], True)
        assert (second["latest"], second["assessment"]) == (None, None)
        listed = http.get(f"/api/hosts/{world.hosts[0]}/findings").json()
        assert (listed["verdict"], listed["scan_id"], len(listed["items"])) == (verdict, assessed["scan_id"], 9)


@pytest.mark.parametrize(
    "value",
    ["[1]", '"many"', "null", '{"high": "many", "low": -1, "x": {}}'],
    ids=["list", "text", "null", "odd numbers"],
)
def test_counts_that_only_a_foreign_hand_writes_stop_no_list(
    sign_in: SignIn, scan: Scan, database: Database, value: str
) -> None:
    http = sign_in("admin").http
    scan(recorded("report-ok"))
    database.execute("UPDATE scan SET counts = %s", value)
    shown = http.get("/api/hosts").raise_for_status().json()["items"][0]["assessment"]["counts"]
    assert all(type(number) is int and number >= 0 for number in shown.values())


@pytest.mark.parametrize("result", [{"verdict": "x", "reason": "a text"}, {"verdict": 5, "reason": [1]}])
def test_a_result_that_only_a_foreign_hand_writes_stops_no_list(
    sign_in: SignIn, scan: Scan, database: Database, result: dict[str, Any]
) -> None:
    http = sign_in("admin").http
    scan(recorded("report-ok"))
    database.execute("UPDATE run SET result_data = %s", orjson.dumps(result).decode())
    latest = http.get("/api/hosts").raise_for_status().json()["items"][0]["latest"]
    assert (latest["verdict"], latest["reason"]) == (None, None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE run SET finished_at = 'infinity'",
        "UPDATE run SET started_at = '20000-01-01'",
        "UPDATE run SET sent_at = 'infinity'",
        "UPDATE run SET lease_expires_at = '20000-01-01'",
        "UPDATE scan SET created_at = '-infinity'",
        "UPDATE scan SET packages_from_scan_id = id, collected_at = '20000-01-01'",
        "UPDATE host_finding SET changed_at = 'infinity'",
    ],
)
def test_times_that_nobody_can_read_are_refused(scan: Scan, database: Database, statement: str) -> None:
    scan(recorded("report-ok"))
    with pytest.raises(psycopg.errors.CheckViolation):
        database.execute(statement)
