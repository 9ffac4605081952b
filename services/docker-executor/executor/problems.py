"""Errors that a caller sees, as RFC 9457 problem details; and errors that end a job."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

log = logging.getLogger(__name__)


class Problem(Exception):  # noqa: N818 (RFC 9457's word for it)
    """A request that cannot be served; `code` is for programs, `detail` for people."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "internal"

    def __init__(self, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members

    def response(self) -> JSONResponse:
        """Return the problem document."""
        return problem_response(self.status, self.code, self.detail, **self.members)


class Unauthorized(Problem):
    """The API key is missing or wrong."""

    status = HTTPStatus.UNAUTHORIZED
    code = "unauthorized"


class TooLarge(Problem):
    """The body is larger than any request of the schema."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "content_too_large"


class UnknownServer(Problem):
    """The targets file does not name the server: run playbooks/scan_hosts.yml."""

    status = HTTPStatus.NOT_FOUND
    code = "unknown_server"


class UnknownJob(Problem):
    """There is no such job, or it is past its retention: send it again under a new id."""

    status = HTTPStatus.NOT_FOUND
    code = "unknown_job"


class JobConflict(Problem):
    """The id belongs to a job with another body: use a new id."""

    status = HTTPStatus.CONFLICT
    code = "job_conflict"


class UnfitResult(Problem):
    """The result to assess is another server's, or nothing that JSON can say: send the server's own."""

    status = HTTPStatus.CONFLICT
    code = "unfit_result"


class QueueFull(Problem):
    """Too many jobs wait: try again later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "queue_full"


class DiskFull(Problem):
    """The job table cannot be written for lack of room: nothing was accepted; try again once there is some."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "disk_full"


class Stopping(Problem):
    """The executor is being stopped: try again when it is back."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "stopping"


class Misconfigured(Problem):
    """The deployment is wrong in a way that only shows when a job is asked for."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "misconfigured"


class JobFailed(Exception):  # noqa: N818 (a job's end, not a programming error)
    """Ends a job in `failed`; the sentence goes to the worker and says what to do."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class JobLost(JobFailed):
    """Ends a job in `lost`: its container is gone and nobody knows how far it came."""


class JobCancelled(Exception):  # noqa: N818
    """Somebody asked for the end of this job."""


def problem_response(status: HTTPStatus, code: str, detail: str, **members: object) -> JSONResponse:
    """Return a problem document (RFC 9457); `members` are extension members."""
    body = {
        "type": f"urn:vuls-live:executor:{code}",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code,
        **members,
    }
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # The rejected input is left out on purpose: it may be anything, and the caller has it.
        errors = [{"at": ".".join(str(part) for part in e["loc"]), "message": e["msg"]} for e in error.errors()]
        text = "The request does not fit the schema."
        return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", text, errors=errors)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == TooLarge.status:
            return TooLarge(str(error.detail)).response()
        status = HTTPStatus(error.status_code)
        response = problem_response(status, status.name.lower(), str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        text = "The executor failed; its log has the reason."
        return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", text)
