"""A fleet of 2,000 hosts with 400 findings each: what storing a result and reading a page of a list take.

The limits are five times what is aimed at, for machines that are busy; the medians are printed.
"""

import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

from app.db import users
from app.db.engine import make_engine, session_factory
from app.db.findings import assessed_scan, list_findings
from app.db.groups import groups_by_name
from app.db.models import Host
from app.db.runs import claim_run, create_adhoc_run
from app.db.scans import end_run
from app.db.standing import standings
from app.domain.permissions import Role
from app.domain.verdict import judge
from app.utils.passwords import hash_password
from tests.edge.browser import Browser
from tests.edge.process import InstanceProcess
from tests.recordings import Recording
from tests.services import Database, create_database, drop_database, required

pytestmark = [pytest.mark.integration, pytest.mark.fleet, pytest.mark.timeout(600)]
HOSTS, FINDINGS = 2000, 400
STORE, PAGE = 0.150, 0.100  # seconds that are aimed at
FACTOR = 5
PASSWORD = "correct horse battery"
Sessions = sessionmaker[Session]

# Without the triggers of foreign keys, which would take most of the time.
FILL = f"""
SET session_replication_role = replica;
INSERT INTO host_group (id, name) VALUES (1, 'fleet');
INSERT INTO host (id, name, address) SELECT n, 'host-' || n, '192.0.2.1' FROM generate_series(1, {HOSTS}) n;
INSERT INTO host_group_member SELECT n, 1 FROM generate_series(1, {HOSTS}) n;
INSERT INTO run (id, task_name, host_id, zone, scan_type, trigger, status, created_at, finished_at, result_data)
SELECT r * {HOSTS} + n, 'Scan', n, 'default', 'fast', 'schedule', 'success', at, at, '{{"verdict": "assessed"}}'
  FROM generate_series(1, {HOSTS}) n, generate_series(0, 9) r,
       LATERAL (SELECT now() - (10 - r) * interval '1 day' AS at);
INSERT INTO scan (id, run_id, host_id, attempt, family, release, verdict, package_count, counts, result)
SELECT r * {HOSTS} + n, r * {HOSTS} + n, n, 1, 'debian', '12',
       CASE r WHEN 0 THEN 'assessed' ELSE 'not_assessed' END, 171,
       CASE r WHEN 0 THEN jsonb_build_object('high', {FINDINGS}) END, '{{}}'
  FROM generate_series(1, {HOSTS}) n, generate_series(0, 9) r;
INSERT INTO finding (scan_id, cve_id, host_id, severity, score, title, packages, links)
SELECT n, 'CVE-2099-' || 1000 + c, n, (ARRAY['critical', 'high', 'medium', 'low'])[1 + c % 4], 9.5 - 2.5 * (c % 4),
       'A flaw in package ' || c || ' lets a remote attacker do what nobody should',
       '[{{"name": "libexample", "fixed_in": "1.2.3-4+deb12u1", "not_fixed_yet": false}}]',
       '["https://security-tracker.debian.org/tracker/CVE-2099-1000"]'
  FROM generate_series(1, {HOSTS}) n, generate_series(1, {FINDINGS}) c;
INSERT INTO host_finding (host_id, cve_id, severity, change, changed_scan_id, changed_at, first_seen_at)
SELECT host_id, cve_id, severity, 'baseline', scan_id, now(), now() FROM finding;
ANALYZE;
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Database]:
    """A database of its own, with the fleet in it."""
    database = create_database(required("VULS_TEST_DATABASE_URL"))
    try:
        with psycopg.connect(database.admin_url, autocommit=True) as connection:
            connection.execute(FILL.encode())
        yield database
    finally:
        drop_database(database)


@pytest.fixture(scope="module")
def sessions_of(fleet: Database) -> Iterator[Callable[[Any], Sessions]]:
    engines = []

    def make(component: Any) -> Sessions:
        engines.append(make_engine(fleet.settings(component)))
        return session_factory(engines[-1])

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture(autouse=True)
def _shown(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Figures are shown, not captured."""
    yield
    figures = capsys.readouterr().out
    with capsys.disabled():
        sys.stdout.write(f"\n{figures}")


def tell(line: str) -> None:
    sys.stdout.write(f"fleet: {line}\n")


def median_of(what: str, aim: float, seconds: list[float]) -> None:
    """Tell the median, and fail where it is out of all proportion."""
    median = statistics.median(seconds)
    tell(f"{what}: median {median * 1000:.0f} ms of {len(seconds)} (aim: {aim * 1000:.0f} ms)")
    assert median <= FACTOR * aim


class Stopwatch:
    """Adds up what the statements of a session take."""

    def __init__(self, session: Session) -> None:
        self.seconds = 0.0
        self._engine = session.connection().engine
        self._began = 0.0

    def __enter__(self) -> Self:
        event.listen(self._engine, "before_cursor_execute", self._start)
        event.listen(self._engine, "after_cursor_execute", self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._start)
        event.remove(self._engine, "after_cursor_execute", self._stop)

    def _start(self, *_: object) -> None:
        self._began = time.perf_counter()

    def _stop(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began


def plans(session: Session, work: Callable[[], object]) -> list[str]:
    """Return how PostgreSQL reads its tables for each of the statements of `work`, with the times it takes."""
    statements: list[tuple[str, Any]] = []
    connection = session.connection()

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(connection.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(connection.engine, "before_cursor_execute", note)
    lines = [
        str(line).strip()
        for statement, parameters in statements
        for (line,) in connection.exec_driver_sql(f"EXPLAIN (ANALYZE) {statement}", parameters)
    ]
    shown = [line for line in lines if re.search(r"Scan .*on |Execution Time", line)]
    assert shown, "no statement was seen"
    return shown


def result(first: int) -> dict[str, Any]:
    """A result of as many findings, with the ids from `first` on, as large as real ones."""
    template = Recording("report-ok").result("t1")
    cve = template["scannedCves"]["CVE-2099-0001"]
    ids = [f"CVE-2099-{1000 + first + number}" for number in range(FINDINGS)]
    return template | {"scannedCves": {cve_id: cve | {"cveID": cve_id} for cve_id in ids}}


def test_a_result_is_stored_and_compared_in_time(sessions_of: Callable[[Any], Sessions]) -> None:
    worker = sessions_of("worker")
    seconds = []
    for place in range(11):
        document = result(first=6)  # five are gone, five are new, all others of another severity or the same
        with worker.begin() as session:
            run, _ = create_adhoc_run(session, 5_000_000 + place, session.get_one(Host, 1 + place), "fast")
            claim = claim_run(session, run.id, "worker", 60)
        assert claim is not None
        verdict = judge(0, 0, document, [], host=claim.run.host.name)
        with worker() as session, Stopwatch(session) as watch:
            ended, changed = end_run(session, claim.run, verdict, document)
            began = time.perf_counter()
            session.commit()
            seconds.append(watch.seconds + time.perf_counter() - began)
        assert ended.data["result_data"]["vulnerabilities"] == FINDINGS
        assert (changed.data["new"]["total"], changed.data["fixed"]["total"]) == (5, 5)
    median_of("storing a result", STORE, seconds)


def test_the_pages_of_the_lists_come_in_time(fleet: Database, sessions_of: Callable[[Any], Sessions]) -> None:
    with sessions_of("web").begin() as session:
        secret = hash_password(PASSWORD)
        users.create_user(session, name="admin", role=Role.ADMIN, password_hash=secret, groups=[])
        users.create_user(session, name="viewer", role=Role.VIEWER, password_hash=secret, groups=["fleet"])
        assert groups_by_name(session, ["fleet"])
    instance = InstanceProcess(fleet)
    try:
        instance.wait_ready()
        for name in ("admin", "viewer"):
            browser = Browser(instance)
            assert browser.login(name, PASSWORD).status_code == 200
            findings = f"/api/hosts/{HOSTS - 7}/findings"
            following = browser.http.get(findings).json()["next"]
            for what, path, count in (
                ("first page of hosts", "/api/hosts?limit=100", 100),
                ("last page of hosts", f"/api/hosts?limit=100&after={HOSTS - 100}", 100),
                ("first page of findings", findings, 100),
                ("next page of findings", f"{findings}?after={following}", 100),
                ("findings that are new", f"{findings}?state=new", 0),
            ):
                seconds = []
                for _ in range(11):
                    began = time.perf_counter()
                    answer = browser.http.get(path)
                    seconds.append(time.perf_counter() - began)
                    assert len(answer.raise_for_status().json()["items"]) == count
                median_of(f"{what} ({name})", PAGE, seconds)
    finally:
        instance.remove()


def test_no_list_reads_a_whole_table(sessions_of: Callable[[Any], Sessions]) -> None:
    with sessions_of("web")() as session:
        scan = assessed_scan(session, HOSTS - 7)
        assert scan is not None
        for what, work in (
            ("standings of 100 hosts", lambda: standings(session, range(HOSTS - 200, HOSTS - 100))),
            ("last assessed scan", lambda: assessed_scan(session, HOSTS - 7)),
            ("page of findings", lambda: list_findings(session, scan, "open", None, 101)),
            ("new findings", lambda: list_findings(session, scan, "new", None, 101)),
        ):
            lines = plans(session, work)
            tell(f"{what}: {'; '.join(lines)}")
            assert not any(re.search(r"Seq Scan on (finding|host_finding|scan|run)\b", line) for line in lines)
