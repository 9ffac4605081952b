"""Errors as RFC 9457 problem details: one exception, one shape, one place that answers."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from psycopg.errors import ForeignKeyViolation, UniqueViolation
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException

from app.api.template import page

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_DATABASE = 5  # seconds after which a client may ask again when the database was away
_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


# The body of every error (RFC 9457). `code` is for programs, `detail` for people; `errors` names fields and repeats
# nothing that was sent, since that may be a secret.
_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
DESCRIPTION: dict[int | str, dict[str, Any]] = {
    "default": {"description": "A problem (RFC 9457)", "content": {MEDIA_TYPE: {"schema": _SCHEMA}}}
}


class ProblemError(Exception):
    """A request that cannot be answered as asked; it becomes the response."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.detail = status, code, detail
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def response(self) -> Response:
        """Return the problem as a response."""
        body = {
            "type": f"urn:vuls-live:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }
        return Response(orjson.dumps(body), self.status, self.headers, MEDIA_TYPE)


def not_found(what: str) -> ProblemError:
    """Make the answer for what is not there, and for what one may not see: the two are told apart by nobody."""
    return ProblemError(404, "not_found", f"There is no such {what}, or you may not see it.")


def forbidden(detail: str) -> ProblemError:
    """Make the answer for what one may see and not do."""
    return ProblemError(403, "forbidden", detail)


def conflict(code: str, detail: str) -> ProblemError:
    """Make the answer for what contradicts what is stored."""
    return ProblemError(409, code, detail)


def invalid(field: str, detail: str) -> ProblemError:
    """Make the answer for one field with a value that cannot be right."""
    return _invalid([{"field": field, "detail": detail}])


def database_unavailable() -> ProblemError:
    """Make the answer for everything that needs the database while it is away."""
    return ProblemError(
        503,
        "database_unavailable",
        "The database does not answer. Try again shortly; before you repeat a change, look whether it was made.",
        headers={"Retry-After": str(RETRY_DATABASE)},
    )


def too_many_connections(whose: Literal["user", "address"]) -> ProblemError:
    """Make the answer for a user or an address with as many sockets and event streams as one may have."""
    detail = {
        "user": "You have as many connections as one user may have. Close some tabs.",
        "address": "Your network has as many connections as one address may have. Ask an administrator to raise that.",
    }[whose]
    return ProblemError(429, "too_many_connections", detail, headers={"Retry-After": "30"})


def draining() -> ProblemError:
    """Make the answer of an instance that is being emptied. Nothing else answers 502.

    The balancer takes this status, and no other, as "ask the next instance", so that a client whose cookie names this
    one moves. With 503 a crowd that one instance cannot serve at once would be pushed from each to the next.
    """
    return ProblemError(
        502, "draining", "This instance takes no new clients: it is about to stop.", headers={"Retry-After": "1"}
    )


def not_ready() -> ProblemError:
    """Make the answer of an instance that takes no clients now: starting, overrun, or between two histories."""
    return ProblemError(503, "not_ready", "This instance takes no clients now.", headers={"Retry-After": "1"})


def internal() -> ProblemError:
    """Make the answer for a fault of ours."""
    return ProblemError(500, "internal", "Something went wrong on our side. The log of the instance says what.")


def _invalid(errors: Sequence[Mapping[str, str]]) -> ProblemError:
    return ProblemError(
        422, "invalid", "The request is not as it must be; `errors` says where.", extra={"errors": list(errors)}
    )


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)  # noqa: S101  (registered for nothing else)
        return error.response()

    async def validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101  (registered for nothing else)
        if any(item["type"] == "json_invalid" for item in error.errors()):
            return ProblemError(400, "malformed_json", "The body is not valid JSON.").response()
        return _invalid([_field_error(item) for item in error.errors()]).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  (registered for nothing else)
        if error.status_code == HTTPStatus.NOT_FOUND and _is_for_eyes(request):
            return page("not_found.html", status=404)
        code = _CODES.get(error.status_code, "error")
        detail = HTTPStatus(error.status_code).description or HTTPStatus(error.status_code).phrase
        return ProblemError(error.status_code, code, detail, headers=error.headers).response()

    async def overtaken(request: Request, error: Exception) -> Response:
        if isinstance(error, IntegrityError) and not isinstance(error.orig, UniqueViolation | ForeignKeyViolation):
            raise error
        log.warning("A request to %r came too late (%s)", request.url.path, type(error).__name__)
        detail = "Somebody else changed or removed this at the same moment. Load it anew, then decide again."
        return conflict("changed_meanwhile", detail).response()

    app.add_exception_handler(ProblemError, problem)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    for unavailable in (DBAPIError, PoolTimeoutError):
        app.add_exception_handler(unavailable, _unanswered)
    for late in (IntegrityError, StaleDataError):
        app.add_exception_handler(late, overtaken)


def _is_for_eyes(request: Request) -> bool:
    """Say whether somebody typed this address or followed a link to it, rather than a program."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(("/api/", "/static/"))


async def _unanswered(_: Request, error: Exception) -> Response:
    if not is_database_away(error):
        raise error
    log.warning("The database did not answer a request (%s)", type(error).__name__)
    return database_unavailable().response()


def is_database_away(error: BaseException) -> bool:
    """Say whether `error` means that the database could not be reached, rather than that a statement was wrong."""
    return isinstance(error, (OperationalError, InterfaceError, PoolTimeoutError, OSError)) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def _field_error(item: Mapping[str, Any]) -> dict[str, str]:
    place = [str(part) for part in item["loc"] if part not in ("body", "query", "path", "header")]
    return {"field": ".".join(place) or "body", "detail": _sentence(item)}


def _sentence(item: Mapping[str, Any]) -> str:
    match item["type"]:
        case "extra_forbidden":
            return "There is no such field."
        case "missing":
            return "This field is needed."
        case _:
            return str(item["msg"]).removeprefix("Value error, ")
