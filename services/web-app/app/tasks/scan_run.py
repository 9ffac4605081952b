"""One attempt at a run, from claim to stored end."""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.config import Settings
from app.db.events import load_event
from app.db.models import Event, Host, Run
from app.db.outage import Trouble, trouble, why
from app.db.progress import earlier_seconds
from app.db.runs import (
    Claim,
    claim_run,
    create_adhoc_run,
    find_run,
    free_host,
    give_back,
    give_up,
    join_orphan,
    restart_run,
)
from app.db.scans import Packages, collected_packages, end_run
from app.domain.backoff import delays
from app.domain.envelope import task_update_data
from app.domain.progress import Course
from app.domain.remedies import log_of
from app.domain.status import FINISHED_STATUSES, SCAN_TYPES, ScanType
from app.domain.time_limit import Allowance, allowance
from app.domain.verdict import Database, Reason, Verdict, failed, judge, judge_check, stopped, took_too_long
from app.integrations.executor_client import ExecutorClient, ExecutorError, Job, ScanDeadlineExceeded, ScanGivenUp
from app.tasks.job_id import job_id
from app.tasks.lease import LeaseKeeper
from app.tasks.owner import is_gone, own_name
from app.tasks.progress import ProgressTeller
from app.utils.notification_service.publisher import publish_task_notification

logger = logging.getLogger(__name__)
T = TypeVar("T")

# How often work is tried again. Others hold locks for as long as a migration takes, and each wait for one takes 10 s.
_TRIES = {Trouble.BUSY: 30, Trouble.REFUSED: 5}
_INTERNAL = (
    "The worker failed while it dealt with the scan of {host}, so nothing of it was kept. `journalctl -u"
    " 'vuls-worker@*'` on the scan host says why; report it, then press Run to scan again."
)
_NOT_STORED = (
    "The scan of {host} came to its end, but the database did not take its result: {why}. `journalctl -u"
    " 'vuls-worker@*'` on the scan host has PostgreSQL's own words; remove the cause, then press Run to scan again."
)
_NO_STORED_SCAN = "There is no scan of {host} whose packages could be assessed again. Press Run to scan it first."
_NO_ASSESSMENT = (
    "The packages of {host} were not assessed again: vuls report brought nothing back. {log} has Vuls' own words."
)
_WAIT_FOR_OTHER = 0.5  # seconds between looks at a run that another worker has


class ScanRequestError(ValueError):
    """The scan cannot be started as asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What an attempt brought back: the verdict, the result file, and the packages that were assessed anew.

    `goes_on`: the executor's job may not be over, for all that is known.
    """

    verdict: Verdict
    document: dict[str, Any] | None = None
    packages: Packages | None = None
    goes_on: bool = False


class ScanRunner:
    """Does the work of a scan worker: claim, scan, judge, store, tell."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        self._settings = settings
        self._sessions = sessions
        self._owner = own_name()

    def deliver(self, run_id: int) -> dict[str, Any] | None:
        """Do a job that Celery delivered. One that another has, that must wait or is finished is left alone: None.

        An attempt of this host that lost its worker goes first, and the delivered job is given back: that attempt's own
        job is behind all that waits, and its lease would end before.
        """
        claim = self._take_over(run_id) or self._try_claim(run_id)
        if claim is None:
            logger.info("Run %s is in other hands, has to wait for others or is finished: nothing to do", run_id)
            return None
        return self._perform(claim, [claim.event])

    def run_now(self, host_id: int, scan_type: str, run_id: int) -> dict[str, Any]:
        """Scan a host under a run id of the caller's choice and return the end of the run.

        An unknown id becomes an ad-hoc run; a finished run gets another attempt; one that is being worked on, or that
        has to wait for another scan of its host, is waited for.

        Raises:
            ScanRequestError: unknown host or scan type, or the run is another host's, no scan, or of another type.
        """
        if scan_type not in SCAN_TYPES:
            raise ScanRequestError(f"unknown scan type {scan_type!r}: use one of {', '.join(sorted(SCAN_TYPES))}")
        try:
            with self._sessions.begin() as session:
                queued = _queue(session, host_id, scan_type, run_id)  # type: ignore[arg-type]  # checked above
                claim = self._claim(session, run_id)
        except IntegrityError as error:
            raise ScanRequestError(f"run {run_id} belongs to another zone: use another id") from error
        if claim is None:
            self._tell(queued)
            return self._wait_for_other(run_id)
        return self._perform(claim, [queued, claim.event])

    def _claim(self, session: Session, run_id: int) -> Claim | None:
        settings = self._settings
        return claim_run(session, run_id, self._owner, settings.lease_seconds, is_gone, settings.hypervisor_group_limit)

    def _try_claim(self, run_id: int) -> Claim | None:
        with self._sessions.begin() as session:
            return self._claim(session, run_id)

    def _take_over(self, delivered_id: int) -> Claim | None:
        with self._sessions.begin() as session:
            claim = join_orphan(session, self._owner, self._settings.lease_seconds, is_gone)
            if claim is not None:
                give_back(session, delivered_id)
        return claim

    def _perform(self, claim: Claim, told: list[Event | None]) -> dict[str, Any]:
        run = claim.run
        for event in told:
            self._tell(event)
        logger.info("Run %s, attempt %s: %s of %s", run.id, run.attempt, run.kind, run.host.name)
        settings = self._settings
        with LeaseKeeper(self._sessions, run, settings.lease_seconds, settings.heartbeat_seconds) as lease:
            ended = self._attempt(claim, lease.lost)
        if not ended:
            logger.warning("Run %s ended elsewhere: what this attempt brought back is dropped", run.id)
        for event in ended:
            self._tell(event)
        return self._say(run.id)

    def _attempt(self, claim: Claim, lost: threading.Event) -> list[Event]:
        """Scan, store how it ended and return the events of that; none when the run ended elsewhere meanwhile.

        A result that the database refuses, and an error that nobody foresaw, end the run with a reason of their own.
        Where not even that can be stored the run is let go: another process gets the result from the executor and tries
        again.
        """
        run = claim.run
        course = self._course(run)
        brought = None
        try:
            try:
                brought = self._scan(run, course, lost)
                if brought is None:
                    return []
                # Of an attempt that was joined nobody knows when its phases began.
                events = self._store(run, brought, course.durations() if claim.event is not None else None)
            except Exception as error:
                if trouble(error) is Trouble.AWAY:
                    raise
                events = self._store(run, self._instead(run, brought, error))
        except Exception:
            self._give_up(run)
            raise
        if not events and not (brought and brought.goes_on):
            self._free_host(run)
        return events

    def _instead(self, run: Run, brought: Brought | None, error: Exception) -> Brought:
        """Return what is told of a run instead of what it brought, which met with `error`."""
        goes_on = brought is None or brought.goes_on
        if brought is not None and trouble(error) is not None:
            logger.error("What run %s brought back cannot be stored: %s", run.id, error)
            verdict = failed("result_not_stored", _NOT_STORED.format(host=run.host.name, why=why(error)))
        else:
            logger.error("Run %s failed in a way that nobody foresaw", run.id, exc_info=error)
            verdict = failed("internal", _INTERNAL.format(host=run.host.name))
        return Brought(verdict, goes_on=goes_on)

    def _course(self, run: Run) -> Course:
        """Return where the scan stands, and what its progress is measured by."""
        try:
            with self._sessions() as session:
                earlier = earlier_seconds(session, run)
        except SQLAlchemyError as error:
            logger.warning("Run %s goes on without an estimate (%s)", run.id, type(error).__name__)
            earlier = {}
        return Course(earlier, run.percent)

    def _scan(self, run: Run, course: Course, lost: threading.Event) -> Brought | None:
        """Do what the run is for and return what it brought; None when the run was taken away meanwhile."""
        packages = None
        if run.kind == "reassess":
            packages = self._packages(run)
            if packages is None:
                return Brought(failed("no_stored_scan", _NO_STORED_SCAN.format(host=run.host.name)))
        settings, allowed = self._settings, self._allowance(run)
        client = ExecutorClient(settings.executor_socket, settings.executor_api_key.get_secret_value())
        try:
            with ProgressTeller(self._sessions, run, course, self._tell, settings.secrets) as teller:
                path, request = _request(run, packages)
                job = client.run(path, request, allowed.seconds, lost, teller.look)
        except ScanGivenUp:
            if client.has_stopped(job_id(run)):
                self._free_host(run)
            return None
        except ScanDeadlineExceeded:
            verdict = took_too_long(run.host.name, run.id, allowed)
            return Brought(verdict, goes_on=not client.has_stopped(job_id(run)))
        except ExecutorError as refusal:
            return Brought(failed(refusal.code, refusal.sentence), goes_on=not client.has_stopped(job_id(run)))
        finally:
            client.close()
        return _judged(run, job, packages, self._database(job))

    def _allowance(self, run: Run) -> Allowance:
        """Return how long the attempt may go on, by the database's clock: its lease began as this worker took it."""
        spent = timedelta()
        if run.started_at is not None and run.lease_expires_at is not None:
            spent = run.lease_expires_at - timedelta(seconds=self._settings.lease_seconds) - run.started_at
        return allowance(run.time_limit_minutes, spent, self._settings.scan_deadline)

    def _database(self, job: Job) -> Database | Literal["unknown"] | None:
        """Return what a report had, as old as it is by this host's clock, which is that of the executor."""
        days, used = self._settings.vulnerability_database_max_age, job.database
        if used is None:
            # An executor of the release before says nothing of it.
            return "unknown" if days and "database" in job.model_fields_set else None
        limit = timedelta(days=days) if days else None
        return Database(used.digest, used.modified_at, datetime.now(UTC) - used.modified_at, limit)

    def _packages(self, run: Run) -> Packages | None:
        def look() -> Packages | None:
            with self._sessions() as session:
                return collected_packages(session, run.host_id)

        return self._persistently(look)

    def _store(self, run: Run, brought: Brought, phase_seconds: dict[str, float] | None = None) -> list[Event]:
        """End the run in one transaction with what it brought back, as soon as the database is there."""

        def store() -> list[Event]:
            with self._sessions() as session:
                events = end_run(
                    session,
                    run,
                    brought.verdict,
                    brought.document,
                    phase_seconds,
                    brought.packages,
                    goes_on=brought.goes_on,
                )
                if events:
                    session.commit()
                return events

        return self._persistently(store)

    def _free_host(self, run: Run) -> None:
        """Have the next scan of the host wait no longer than it must; it begins a minute later where this fails."""
        try:
            with self._sessions.begin() as session:
                free_host(session, run)
        except SQLAlchemyError as error:
            logger.warning("The host of run %s stays held for a while (%s)", run.id, type(error).__name__)

    def _give_up(self, run: Run) -> None:
        """Let another process of this host have the run; it ends with its lease where this fails."""
        try:
            with self._sessions.begin() as session:
                given_up = give_up(session, run, self._settings.lease_seconds)
        except SQLAlchemyError as error:
            logger.warning("Run %s cannot be let go and ends with its lease (%s)", run.id, type(error).__name__)
        else:
            logger.warning("Run %s could not be ended and is %s", run.id, "let go" if given_up else "left alone")

    def _persistently(self, work: Callable[[], T]) -> T:
        """Do database work, again while the database is away or busy, and a few times where it refuses.

        It is waited for as long as the executor keeps the result: whoever joined the run later would find none.
        """
        ends_at = time.monotonic() + self._settings.store_patience
        tries = Counter[Trouble]()
        for delay in delays(0.2, 5.0):
            try:
                return work()
            except SQLAlchemyError as error:
                kind = trouble(error)
                if kind is None or time.monotonic() > ends_at:
                    raise
                tries[kind] += 1
                if tries[kind] >= _TRIES.get(kind, math.inf):
                    raise
                logger.warning("The database is %s (%s), trying again in %.1f s", kind, type(error).__name__, delay)
                time.sleep(delay)
        raise AssertionError("delays never end")

    def _tell(self, event: Event | None) -> None:
        """Publish a committed event; readers find it in the log if that fails."""
        if event is None:
            return
        try:
            with self._sessions() as session:
                stored = load_event(session, event.id)
        except SQLAlchemyError as error:
            logger.warning("Event %s stays unpublished: it cannot be read (%s)", event.id, type(error).__name__)
            return
        publish_task_notification(stored)

    def _wait_for_other(self, run_id: int) -> dict[str, Any]:
        ends_at = time.monotonic() + self._settings.scan_deadline
        while time.monotonic() < ends_at:
            said = self._say(run_id)
            if said["status"] in FINISHED_STATUSES:
                return said
            claim = self._persistently(lambda: self._try_claim(run_id))
            if claim is not None:
                return self._perform(claim, [claim.event])
            time.sleep(_WAIT_FOR_OTHER)
        raise ScanRequestError(f"run {run_id} did not end in time")

    def _say(self, run_id: int) -> dict[str, Any]:
        """Return the run as its last event told it."""

        def look() -> Run | None:
            with self._sessions() as session:
                return find_run(session, run_id)

        run = self._persistently(look)
        if run is None:
            raise ScanRequestError(f"run {run_id} is gone")
        at = run.finished_at or run.started_at or run.created_at
        return task_update_data(run.task_id, run.id, run.status, run.task_name, run.result_data, at)


def _request(run: Run, packages: Packages | None) -> tuple[str, dict[str, Any]]:
    """Return which of the executor's calls does what the run is for, and its body."""
    job = {"job_id": job_id(run), "server": run.host.name}
    match run.kind:
        case "check":
            return "/check", job
        case "reassess" if packages is not None:
            return "/assess", job | {"result": packages.document}
        case _:
            return "/scan", job | {"scan_type": run.scan_type}


def _judged(run: Run, job: Job, packages: Packages | None, database: Database | Literal["unknown"] | None) -> Brought:
    host = run.host.name
    error = None if job.error is None else Reason(job.error.code, job.error.sentence)
    if error is None and job.state != "done":
        error = stopped(host)
    if run.kind == "check":
        return Brought(judge_check(job.scan_exit, job.log, error, host, run.id))
    if packages is not None and job.result is None:
        error = error or Reason("no_result", _NO_ASSESSMENT.format(host=host, log=log_of(run.id)))
    verdict = judge(job.scan_exit, job.report_exit, job.result, job.log, error, host, database, run_id=run.id)
    return Brought(verdict, job.result, packages)


def _queue(session: Session, host_id: int, scan_type: ScanType, run_id: int) -> Event | None:
    """Make sure that the run is there and queued; return the event if that was news."""
    host = session.get(Host, host_id)
    if host is None:
        raise ScanRequestError(f"there is no host {host_id} in this worker's zone")
    run = find_run(session, run_id)
    if run is None:
        return create_adhoc_run(session, run_id, host, scan_type)[1]
    if run.host_id != host_id:
        raise ScanRequestError(f"run {run_id} is of host {run.host_id}, not {host_id}: use another id")
    if run.kind != "scan":
        raise ScanRequestError(f"run {run_id} is no scan but of kind {run.kind}: use another id")
    if run.scan_type != scan_type:
        raise ScanRequestError(f"run {run_id} is a {run.scan_type} scan, not {scan_type}: use another id")
    restarted = restart_run(session, run_id)
    return None if restarted is None else restarted[1]
