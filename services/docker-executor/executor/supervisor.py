"""The queue: which jobs run, what a start finds and takes up again, and what is swept away."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from executor import disk, ends, targets
from executor.database import Database
from executor.engine import Engine, EngineUnreachable
from executor.feed import Feed
from executor.jobs import Job, Kind, ScanType, State
from executor.problems import DiskFull, JobFailed, Misconfigured, QueueFull, Stopping, UnknownJob, UnknownServer
from executor.runner import Runner
from executor.settings import Settings
from executor.store import Store
from executor.workspace import Workspace

log = logging.getLogger(__name__)

SWEEP_SECONDS = 60
AGAIN_SECONDS = 15
ABANDON_CHECK_SECONDS = 1


class Supervisor:
    """Owns the runners. All of its methods run on the event loop's thread."""

    def __init__(self, settings: Settings, store: Store, engine: Engine, feed: Feed, database: Database) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._feed = feed
        self._database = database
        self._runners: dict[str, Runner] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: dict[str, float] = {}  # when, on the monotonic clock, somebody last asked about an unfinished job
        self._reading = asyncio.Semaphore()
        self._purged_at = time.monotonic()
        self._stopping = False

    async def start(self) -> None:
        """Take up what the last run left, then serve the queue."""
        # One thread a job, whatever the number of cores, and some for the sweep and the health check.
        threads = ThreadPoolExecutor(self._settings.max_parallel + 4, thread_name_prefix="engine")
        asyncio.get_running_loop().set_default_executor(threads)
        for job in self._store.unfinished():
            if job.state is not State.ACCEPTED:
                log.info("job %s: taken up again in state %s", job.id, job.state)
                self._launch(job)
        self._fill()
        self._spawn(self._sweep_for_ever(), "sweep")
        self._spawn(self._abandon_for_ever(), "abandon")

    async def stop(self) -> None:
        """Let go of everything; containers run on for the next start to find."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def submit(
        self, job_id: str, server: str, scan_type: ScanType, kind: Kind = Kind.SCAN, given: str | None = None
    ) -> tuple[Job, bool]:
        """Store a job and start it when its turn comes; the flag says that it is new. Raises Problem."""
        if self._stopping:
            raise Stopping("The executor is being stopped.")
        with self._storing("The job could not be stored and was not accepted."):
            if self._store.get(job_id) is None:
                self._check(server)
            # A job whose turn it is begins as it is stored: a caller is never told no about one that runs later.
            at_once = len(self._runners) < self._settings.max_parallel and self._store.next_queued() is None
            job, new = self._store.add(job_id, server, scan_type, kind=kind, given=given, begun=at_once)
        self.note_asked(job)
        if new:
            log.info("job %s: accepted, %s (%s) of %s", job.id, kind, scan_type, server)
            if at_once:
                self._launch(job)
            else:
                self._fill()
        return job, new

    def note_asked(self, job: Job) -> None:
        """Note that somebody asks about the job; one that nobody asks about is ended. From any thread."""
        if not job.state.is_end:
            self._asked[job.id] = time.monotonic()

    def cancel(self, job_id: str, error: tuple[str, str] | None = None) -> Job:
        """Ask for the job's end, wherever it stands; one that has ended stays as it is. Raises UnknownJob.

        `error`: code and sentence of why, where its caller did not ask for it.
        """
        job = self._store.get(job_id)
        if job is None:
            raise UnknownJob(f"There is no job {job_id}.")
        if job.state.is_end:
            return job
        with self._storing("The cancellation could not be stored."):
            job = self._store.request_cancel(job_id, error)
            log.info("job %s: to be cancelled", job_id)
            if runner := self._runners.get(job_id):
                runner.cancel()
            elif job.state is State.ACCEPTED:
                job = self._store.move(job_id, State.CANCELLED)
                self._feed.publish(job)
        return job

    @contextmanager
    def _storing(self, outcome: str) -> Iterator[None]:
        """Make a full disk a problem with `outcome` in it."""
        try:
            yield
        except sqlite3.Error as error:
            if not disk.has_filled_store(self._settings, error):
                raise
            text = disk.sentence(self._settings, outcome)
            log.warning("%s", text)
            raise DiskFull(text) from error

    def _check(self, server: str) -> None:
        try:
            known = targets.load(self._settings.targets)
        except targets.TargetsUnreadable as error:
            raise Misconfigured(f"The targets file cannot be used: {error}. Run playbooks/scan_hosts.yml.") from error
        if server not in known:
            raise UnknownServer(f"{server} is no target of this zone. Run playbooks/scan_hosts.yml for it.")
        if self._store.count_queued() >= self._settings.max_queued:
            raise QueueFull(f"{self._settings.max_queued} jobs wait already.")

    def _fill(self) -> None:
        """Start the jobs whose turn it is."""
        while not self._stopping and len(self._runners) < self._settings.max_parallel:
            job = self._store.next_queued()
            if job is None:
                return
            try:
                job = self._store.move(job.id, State.PREPARING, phase="preparing")
            except sqlite3.Error as error:  # it stays in the queue, for the next job's end or the sweep
                log.warning("job %s: its turn cannot be stored: %s", job.id, error)
                return
            self._feed.publish(job)
            self._launch(job)

    def _launch(self, job: Job) -> None:
        runner = Runner(self._settings, self._store, self._engine, self._feed, self._database, job, self._reading)
        self._runners[job.id] = runner
        self._spawn(self._run(runner), f"job {job.id}")

    async def _run(self, runner: Runner) -> None:
        """Drive a job; when not even its state can be stored (a full disk), try again after a while."""
        job_id = runner.job.id
        try:
            while True:
                try:
                    await runner.drive()
                except Exception:
                    log.exception("job %s: stuck, another try in %d s", job_id, AGAIN_SECONDS)
                else:
                    return
                await asyncio.sleep(AGAIN_SECONDS)
                runner.job = self._store.get(job_id) or runner.job
                if runner.job.state.is_end:
                    return
        finally:
            del self._runners[job_id]
            self._fill()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except EngineUnreachable as error:
                log.warning("sweep: the engine does not answer: %s", error)
            except Exception:
                log.exception("sweep failed")
            await asyncio.sleep(SWEEP_SECONDS)

    async def _abandon_for_ever(self) -> None:
        while True:
            try:
                self._abandon()
            except Exception:
                log.exception("looking for abandoned jobs failed")
            await asyncio.sleep(ABANDON_CHECK_SECONDS)

    def _abandon(self) -> None:
        """End the jobs that nobody has asked about for too long; those of before a restart count from the start."""
        now, limit = time.monotonic(), self._settings.abandon_seconds
        unfinished = self._store.unfinished()
        for job_id in set(self._asked) - {job.id for job in unfinished}:
            self._asked.pop(job_id, None)
        for job in unfinished:
            if self._feed.is_followed(job.id):
                self._asked[job.id] = now
            elif not job.cancel_requested and now - self._asked.setdefault(job.id, now) > limit:
                log.warning("job %s: nobody has asked about it for %d s", job.id, limit)
                self.cancel(job.id, ends.abandoned(limit))

    async def sweep(self) -> None:
        """Remove containers and directories that belong to no unfinished job, and forget old jobs.

        What cannot be removed is left to the next sweep and keeps nothing else from its turn. Raises EngineUnreachable.
        """
        try:
            self._forget_old_jobs()
            # What is there is listed before what is wanted: a job that begins in between is then not taken for a stray.
            directories = await asyncio.to_thread(lambda: [entry.name for entry in self._settings.jobs_dir.iterdir()])
            containers = await asyncio.to_thread(self._engine.found)
            wanted = {job.id for job in self._store.unfinished()}
            for found in containers:
                if found.job_id not in wanted:
                    name = f"the container {found.id[:12]} of job {found.job_id}"
                    await self._remove_stray(name, partial(self._engine.remove, found.id))
            for job_id in set(directories) - wanted:
                await self._remove_stray(f"the directory of job {job_id}", Workspace(self._settings, job_id).wipe)
        finally:
            self._fill()

    @staticmethod
    async def _remove_stray(name: str, remove: Callable[[], None]) -> None:
        log.warning("sweep: removing %s", name)
        try:
            await asyncio.to_thread(remove)
        except (EngineUnreachable, JobFailed, OSError) as error:
            log.warning("sweep: %s is left for the next time: %s", name, error)

    def _forget_old_jobs(self) -> None:
        now = time.monotonic()
        try:
            self._store.purge(now - self._purged_at, self._settings.retention_hours * 3600)
        except sqlite3.Error as error:  # it needs room itself, which the rest may have to make
            log.warning("sweep: old jobs are kept for now: %s", error)
        else:
            self._purged_at = now
