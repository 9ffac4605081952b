"""Drives one job from where it stands to its end.

Every step can be cut off and taken up again. The rule that makes it safe: a container is created, then the
state that names it is stored, then it is started, and only one that was never started is started. So a restart
finds a job either with its container, or with one that never ran, or it is lost; nothing runs twice.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from executor import containers, disk, ends, phases, targets
from executor.database import Database, DatabaseError
from executor.engine import NOT_RUN_EXITS, SIGNAL_EXITS, Engine, EngineUnreachable, Observation
from executor.feed import Feed
from executor.jobs import Job, Kind, State, Step
from executor.problems import JobCancelled, JobFailed, JobLost
from executor.results import collect
from executor.settings import Settings
from executor.store import IllegalMove, Store
from executor.workspace import Workspace

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

POLL_SECONDS = 0.4
RETRY_SECONDS = 1.0
CANCEL_SECONDS = 3.0
LATE_SECONDS = 1.5
"""With the seconds above, less than the five in which a cancelled job ends."""
LOGGED_LINES = 10


class Runner:
    """One job under way."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        feed: Feed,
        database: Database,
        job: Job,
        reading: asyncio.Semaphore | None = None,
    ) -> None:
        """Take up `job`; `reading` is the turn of all runners to read a result."""
        self._settings = settings
        self._store = store
        self._engine = engine
        self._feed = feed
        self._database = database
        self.job = job
        self._reading = reading or asyncio.Semaphore()
        self._place = Workspace(settings, job.id)
        self._failure: JobFailed | None = None  # to be stored
        self._late: asyncio.Future[Any] | None = None  # a call to the engine that a cancellation did not wait for
        self._cancelled = asyncio.Event()
        if job.cancel_requested:
            self._cancelled.set()

    def cancel(self) -> None:
        """End the job as soon as possible."""
        self._cancelled.set()

    async def drive(self) -> None:
        """Run the job to its end. Being cancelled as a task leaves everything in place for the next start."""
        if self._failure is not None:
            await self._fail(self._failure)
            return
        try:
            await self._pause(0)
            if self.job.state is State.PREPARING:
                await self._prepare()
            if self.job.state is State.SCANNING:
                await self._scan()
            if self.job.state is State.REPORTING:
                await self._report()
        except JobCancelled:
            # The container goes first: whoever reads "cancelled" may rely on nothing running any more.
            await self._clean_up(CANCEL_SECONDS)
            await self._move(State.CANCELLED)
        except JobFailed as failure:
            await self._fail(failure)
        except (sqlite3.Error, IllegalMove):
            raise  # without its state stored the job can neither go on nor end; the supervisor tries again
        except Exception:
            log.exception("job %s: unexpected", self.job.id)
            await self._fail(ends.internal())

    async def _prepare(self) -> None:
        await self._ask(self._engine.remove_job, self.job.id)  # made before a crash, never started
        try:
            target = targets.load(self._settings.targets).get(self.job.server)
        except targets.TargetsUnreadable as error:
            raise ends.targets_unusable(str(error)) from error
        if target is None:
            raise ends.target_removed(self.job.server)
        given = await asyncio.to_thread(self._store.given, self.job.id)
        await asyncio.to_thread(self._place.prepare, self.job, target, given)
        if self.job.kind is Kind.ASSESS:
            await self._begin(State.REPORTING, Step.REPORT)
        else:
            await self._begin(State.SCANNING, Step.SCAN)

    async def _begin(self, state: State, step: Step) -> None:
        await self._ask(self._engine.create, self.job, step)
        await self._move(state, phase=phases.FIRST[step])

    async def _scan(self) -> None:
        if self.job.scan_exit is None:
            await self._follow(Step.SCAN, containers.scan_limit(self._settings, self.job))
        if self.job.kind is Kind.CHECK:
            await self._move(State.DONE, phase="finished")
            await self._clean_up()
            return
        await self._ask(self._engine.remove_job, self.job.id, Step.SCAN)
        await asyncio.to_thread(self._place.forget_key)
        await self._begin(State.REPORTING, Step.REPORT)

    async def _note_database(self, container: str) -> None:
        """Write down which database the report is about to read: the file that is there when its container starts.

        It may be replaced at any time; the container keeps the one that it started with.
        """
        seen = await self._ask(self._engine.observe, container)
        if seen is None or seen.started:
            return
        try:
            facts = await self._unless_cancelled(self._database.look)
        except DatabaseError as error:
            log.warning("job %s: %s", self.job.id, error)
            facts = None
        self.job = await asyncio.to_thread(self._store.note_database, self.job.id, facts)

    async def _report(self) -> None:
        if self.job.report_exit is None:
            await self._follow(Step.REPORT, self._settings.report_timeout)
        result = await self._collect()
        await self._move(State.DONE, phase="finished", result=result)
        await self._clean_up()

    async def _follow(self, step: Step, limit: int) -> None:
        """Watch a program to its end and store how it ended. Raises JobLost and JobFailed."""
        container = await self._ask(self._engine.find, self.job.id, step)
        if container is None:
            raise ends.container_lost(step)
        if step is Step.REPORT:
            await self._note_database(container)
        await self._ask(self._engine.start, container)
        deadline = self._running_since() + limit
        while True:
            seen = await self._ask(self._engine.observe, container)
            if seen is None:
                raise ends.container_lost(step)
            self._note(step, seen)
            await self._unless_cancelled(disk.check_job, self._settings, self._place.path)
            if not seen.running:
                break
            if time.monotonic() > deadline:
                is_check = self.job.kind is Kind.CHECK
                raise ends.check_took_too_long(limit) if is_check else ends.took_too_long(step, limit)
            await self._pause(POLL_SECONDS)
        self._check_end(step, seen)
        self.job = self._store.note_exit(self.job.id, step, seen.exit_code)
        log.info("job %s: %s ended with status %d", self.job.id, step, seen.exit_code)
        for line in seen.lines[-LOGGED_LINES:]:  # the journal is where operators look for Vuls' own words
            log.info("job %s: %s said: %s", self.job.id, step, line)
        if seen.exit_code and disk.has_no_room(self._settings):
            text = f"The {step} ended with status {seen.exit_code}, and what it wrote may be incomplete."
            raise disk.failure(self._settings, text)

    def _running_since(self) -> float:
        """Return when the program was started, on the monotonic clock, whatever the time of day did meanwhile.

        It is stored for the next executor. No container outlives a boot of the host, with which that clock begins anew.
        """
        now = time.monotonic()
        if self.job.running_since is None or self.job.running_since > now:
            self.job = self._store.note_running(self.job.id, now)
        return self.job.running_since or now

    def _check_end(self, step: Step, seen: Observation) -> None:
        """Raise JobFailed where the program did not come to an end of its own."""
        if seen.exit_code and seen.out_of_memory:
            raise ends.out_of_memory(step, self._settings)
        if seen.exit_code in NOT_RUN_EXITS:
            raise ends.image_unusable(self._settings)
        if seen.exit_code in SIGNAL_EXITS:
            raise ends.killed(step, seen.exit_code - SIGNAL_EXITS.start + 1, self._settings)

    def _note(self, step: Step, seen: Observation) -> None:
        phase = phases.phase_of(step, seen.lines) or self.job.phase
        known = {Step.SCAN: self.job.scan_log, Step.REPORT: self.job.report_log}[step]
        if (phase, seen.lines) != (self.job.phase, known):
            self.job = self._store.note_progress(self.job.id, step, phase, seen.lines)
            self._feed.publish(self.job)

    async def _collect(self) -> str | None:
        """Return the result, None when there is none. Raises JobFailed and JobCancelled."""
        try:
            result = await self._read_result()
        except JobFailed as error:
            if error.code == "result_invalid" and disk.has_no_room(self._settings):
                raise disk.failure(self._settings, "The result was cut short and is of no use.") from error
            raise
        if result is None and disk.has_no_room(self._settings):
            raise disk.failure(self._settings, "Vuls could not write its result.")
        return result

    async def _read_result(self) -> str | None:
        """Read the result in its turn, as each may take much memory, and give up where the job is cancelled."""

        async def in_turn() -> str | None:
            async with self._reading:
                return await collect(self._place.results, self.job.server, self._settings.result_limit)

        reading = asyncio.ensure_future(in_turn())
        cancelled = asyncio.ensure_future(self._cancelled.wait())
        try:
            await asyncio.wait({reading, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise JobCancelled
            return reading.result()
        finally:
            reading.cancel()
            cancelled.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _fail(self, failure: JobFailed) -> None:
        """End the job in `failed` or `lost`, with the scan's result where it got that far."""
        self._failure = failure
        result = None
        if self.job.scan_exit is not None:
            try:
                result = await self._collect()
            except (JobFailed, JobCancelled, OSError) as error:
                log.warning("job %s: no result to keep: %s", self.job.id, error or "the job was cancelled")
        state = State.LOST if isinstance(failure, JobLost) else State.FAILED
        log.warning("job %s: %s: %s", self.job.id, failure.code, failure.sentence)
        if failure.code == disk.CODE:
            await self._wipe()  # first: the job table may need the room to store the end
        # Whoever reads the end may rely on nothing running any more.
        await self._remove_containers(CANCEL_SECONDS)
        await self._move(state, error=(failure.code, failure.sentence), result=result)
        await self._clean_up()

    async def _clean_up(self, seconds: float = 30.0) -> None:
        """Remove containers and directory; what cannot be removed now is left to the sweep."""
        await self._remove_containers(seconds)
        await self._wipe()

    async def _remove_containers(self, seconds: float) -> None:
        if self._late is not None:
            await asyncio.wait({self._late}, timeout=LATE_SECONDS)  # what it makes goes with the others
        try:
            async with asyncio.timeout(seconds):
                await asyncio.to_thread(self._engine.remove_job, self.job.id)
        except (EngineUnreachable, JobFailed, TimeoutError) as error:
            log.warning("job %s: a container may be left for later: %s", self.job.id, error or "the engine hangs")

    async def _wipe(self) -> None:
        """Remove the directory, or leave it to the sweep."""
        try:
            await asyncio.to_thread(self._place.wipe)
        except OSError as error:
            log.warning("job %s: its directory is left for later: %s", self.job.id, error)

    async def _move(
        self,
        to: State,
        *,
        phase: str | None = None,
        error: tuple[str, str] | None = None,
        result: str | None = None,
    ) -> None:
        self.job = await asyncio.to_thread(self._store.move, self.job.id, to, phase=phase, error=error, result=result)
        self._feed.publish(self.job)
        log.info("job %s: %s", self.job.id, to)

    async def _ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the engine, again and again while it does not answer. Raises JobCancelled and JobFailed."""
        give_up = time.monotonic() + self._settings.engine_grace
        while True:
            try:
                return await self._unless_cancelled(call, *args, **kwargs)
            except EngineUnreachable as error:
                if time.monotonic() > give_up:
                    raise ends.engine_away() from error
                log.warning("job %s: the engine does not answer: %s", self.job.id, error)
            await self._pause(RETRY_SECONDS)

    async def _unless_cancelled(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call; once the job is cancelled, only `_remove_containers` waits for it, and for a while."""
        answer = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
        cancelled = asyncio.ensure_future(self._cancelled.wait())
        try:
            await asyncio.wait({answer, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            if cancelled.done():
                answer.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
                self._late = answer
                raise JobCancelled
            return answer.result()
        finally:
            if answer is not self._late:
                answer.cancel()
            cancelled.cancel()

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless the job is cancelled. Raises JobCancelled."""
        try:
            async with asyncio.timeout(seconds):
                await self._cancelled.wait()
        except TimeoutError:
            return
        raise JobCancelled
