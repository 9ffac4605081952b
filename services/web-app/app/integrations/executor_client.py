"""The docker-executor, over its Unix socket: the only way from here to a scan."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import httpx
from pydantic import AwareDatetime, BaseModel, ValidationError

from app.domain.backoff import delays
from app.domain.remedies import DEPLOY_ALL, refresh_target

logger = logging.getLogger(__name__)

_ENDED = frozenset({"done", "failed", "cancelled", "lost"})
_REQUEST_TIMEOUT = 10.0
_FIRST_RETRY = 0.2
_GREATEST_RETRY = 5.0
_CANCEL_PATIENCE = 30.0  # seconds that the end of a job is asked for while the executor is away
_END_PATIENCE = 10.0  # seconds for the end of a job that was cancelled, which takes up to 5


class ExecutorError(Exception):
    """A scan could not be had; `code` and `sentence` are what the run will say."""

    code = "executor_failed"

    def __init__(self, sentence: str, code: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code or self.code


class ExecutorUnavailable(ExecutorError):  # noqa: N818  (the name in the contract)
    """The executor did not answer for longer than the client's patience."""

    code = "executor_unavailable"


class UnknownServer(ExecutorError):  # noqa: N818  (the name in the contract)
    """The executor has no such target."""

    code = "unknown_server"


class ExecutorRefused(ExecutorError):  # noqa: N818  (one family of names)
    """The executor will not do it, and would not if asked again: key, form, configuration."""

    code = "executor_refused"


class ScanDeadlineExceeded(ExecutorError):  # noqa: N818  (one family of names)
    """The scan took longer than a scan may; the job was told to end."""

    code = "scan_timeout"


class ScanGivenUp(ExecutorError):  # noqa: N818  (one family of names)
    """The caller gave the scan up; the job was told to end."""

    code = "given_up"


class JobError(BaseModel):
    """Why the executor could not run a job to its end."""

    code: str
    sentence: str


class VulnerabilityDatabase(BaseModel):
    """The database that packages are matched against: its checksum, and when its maker last changed it."""

    digest: str
    modified_at: AwareDatetime


class Health(BaseModel):
    """How the executor is: `degraded` scans, but assesses nothing; `ill` cannot scan."""

    status: Literal["ok", "degraded", "ill"]
    database_info: VulnerabilityDatabase | None = None


class Job(BaseModel):
    """A job as the executor tells of it. `result` is Vuls's result without its configuration.

    `database` is what its report had; None before the report, and from an executor of the release before.
    """

    id: str
    state: str
    phase: str | None = None
    scan_exit: int | None = None
    report_exit: int | None = None
    result: dict[str, Any] | None = None
    log: list[str] = []
    error: JobError | None = None
    database: VulnerabilityDatabase | None = None

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing more will come."""
        return self.state in _ENDED


class _Retry(Exception):  # noqa: N818  (a signal between two methods)
    """The executor is away or busy for the moment; it may have said why."""


class ExecutorClient:
    """Runs one job at a time and survives restarts of the executor, which keeps its jobs.

    `patience` is how many seconds the executor may be away before the client gives up, `timeout` how many an answer
    may take.
    """

    def __init__(
        self,
        socket_path: str,
        api_key: str,
        *,
        poll_interval: float = 0.3,
        patience: float = 120.0,
        timeout: float = _REQUEST_TIMEOUT,
    ) -> None:
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=socket_path),
            base_url="http://executor",
            headers={"X-API-Key": api_key},
            timeout=timeout,
        )
        self._poll_interval = poll_interval
        self._patience = patience

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def run(
        self,
        path: str,
        request: Mapping[str, Any],
        deadline: float,
        given_up: threading.Event,
        on_look: Callable[[Job], None] = lambda _: None,
    ) -> Job:
        """Run a job to its end and return it. The same id with the same request joins the job that is there.

        `path` is the call that makes such jobs, `request` its body. `deadline` is in seconds from now. Setting
        `given_up` ends the job within a second or so. `on_look` gets the job each time it was looked at; it must not
        wait.

        Raises:
            ExecutorError: no scan; one of its kinds says why.
        """
        ends_at = time.monotonic() + deadline
        job_id = request["job_id"]
        try:
            # It may come there although no answer comes back.
            job = self._patiently(lambda: self._submit(path, request), ends_at, given_up)
            on_look(job)
            while not job.has_ended:
                self._wait(self._poll_interval, ends_at, given_up)
                job = self._patiently(lambda: self._look(job_id) or self._submit(path, request), ends_at, given_up)
                on_look(job)
        except ExecutorError:
            self.cancel(job_id)  # the run will be told as ended: nothing of it may go on at the target
            raise
        return job

    def health(self) -> Health | None:
        """Return how the executor is; None when it does not answer, or not in a known form."""
        try:
            return Health.model_validate_json(self._http.get("/health").content)
        except (httpx.TransportError, ValidationError):
            return None

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job, for a while again if the executor is away: it takes its jobs up when it is back.

        Failure is logged; the executor's own time limit ends the job then.
        """
        impatient_at = time.monotonic() + min(self._patience, _CANCEL_PATIENCE)
        for delay in delays(_FIRST_RETRY, _GREATEST_RETRY):
            try:
                response = self._http.delete(f"/jobs/{job_id}")
                if response.is_success or _problem(response)[0] == "unknown_job":
                    return
                problem = f"status {response.status_code}"
                break
            except (httpx.TransportError, _Retry) as error:
                problem = str(error) or type(error).__name__
            if time.monotonic() + delay > impatient_at:
                break
            time.sleep(delay)
        logger.warning("Could not cancel executor job %s: %s", job_id, problem)

    def end(self, job_id: str) -> bool:
        """Ask once for the end of a job, and tell whether it is over: another call may say so later.

        Raises:
            ExecutorUnavailable: no answer, or none that is of use.
        """
        try:
            response = self._http.delete(f"/jobs/{job_id}")
            if response.is_success:
                return _read(response).has_ended
            code, detail = _problem(response)
        except (httpx.TransportError, _Retry, ExecutorRefused) as error:
            raise ExecutorUnavailable(str(error) or type(error).__name__) from error
        if code == "unknown_job":
            return True
        raise ExecutorUnavailable(detail or code)

    def has_stopped(self, job_id: str) -> bool:
        """Wait for the end of a job that was cancelled; False when it does not come or cannot be seen."""
        ends_at = time.monotonic() + _END_PATIENCE
        while time.monotonic() < ends_at:
            try:
                job = self._look(job_id)
            except (httpx.TransportError, _Retry, ExecutorError):
                return False
            if job is None or job.has_ended:
                return True
            time.sleep(self._poll_interval)
        return False

    def _submit(self, path: str, request: Mapping[str, Any]) -> Job:
        response = self._http.post(path, json=request)
        if response.is_success:
            return _read(response)
        code, detail = _problem(response)
        if code == "unknown_server":
            server = request["server"]
            raise UnknownServer(f"The scan host has no target called {server}. Run {refresh_target(server)} to add it.")
        raise _refusal(f"The executor refused the scan: {detail or code}")

    def _look(self, job_id: str) -> Job | None:
        """Return the job, None where the executor knows it no longer."""
        response = self._http.get(f"/jobs/{job_id}")
        if response.is_success:
            return _read(response)
        code, detail = _problem(response)
        if code == "unknown_job":
            return None
        raise _refusal(f"The executor refused to tell of the scan: {detail or code}")

    def _patiently(self, call: Callable[[], Job], ends_at: float, given_up: threading.Event) -> Job:
        """Make a call, again and again while the executor is away, until patience ends."""
        impatient_at = time.monotonic() + self._patience
        for delay in delays(_FIRST_RETRY, _GREATEST_RETRY):
            try:
                return call()
            except (httpx.TransportError, _Retry) as error:
                if time.monotonic() + delay > impatient_at:
                    raise _out_of_patience(error) from error
                logger.info("The executor is away or busy (%s), trying again", str(error) or type(error).__name__)
            self._wait(delay, ends_at, given_up)
        raise AssertionError("delays never end")

    @staticmethod
    def _wait(seconds: float, ends_at: float, given_up: threading.Event) -> None:
        left = ends_at - time.monotonic()
        if left <= 0:
            raise ScanDeadlineExceeded("The scan took longer than it may.")
        if given_up.wait(min(seconds, left)):
            raise ScanGivenUp("The run was ended while the scan ran.")


def _out_of_patience(error: Exception) -> ExecutorError:
    if isinstance(error, _Retry) and str(error):
        return _refusal(f"The executor on the scan host took no scan: {error}")
    return ExecutorUnavailable(
        "The executor on the scan host does not answer. Run `systemctl restart vuls-executor` there, then press Run to"
        " scan again."
    )


def _refusal(what: str) -> ExecutorRefused:
    """Return a refusal in the executor's words, with where to look."""
    return ExecutorRefused(f"{what.rstrip('.')}. `journalctl -u vuls-executor` on the scan host has more.")


def _problem(response: httpx.Response) -> tuple[str, str]:
    """Return code and detail of a problem document; raise `_Retry` with the detail when asking again may help."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    detail = str(problem.get("detail", ""))
    if response.status_code in {httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT}:
        raise _Retry(detail)
    return str(problem.get("code", f"status {response.status_code}")), detail


def _read(response: httpx.Response) -> Job:
    try:
        return Job.model_validate_json(response.content)
    except ValidationError as error:
        raise ExecutorRefused(
            f"The executor's answer has an unknown form. Run {DEPLOY_ALL} to have one release everywhere."
        ) from error
