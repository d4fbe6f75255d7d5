"""Problems: every answer that says no is `application/problem+json` (RFC 9457) with a stable code.

Nothing of an unexpected error reaches the client but the request's id, by which the log has the rest.
"""

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import structlog
from litestar.connection import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Response
from litestar.types import ExceptionHandlersMap, Receive, Scope, Send
from pydantic import BaseModel, ValidationError

from shared.faults import Poison, Transient
from shared.http.problem_codes import CODES, slug_of
from shared.http.request_ids import request_id_of
from shared.isolation import describe

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 1
"""How long a client should wait after `TRY_LATER`: a failover usually takes a second or two."""

_STATUS_CODES = {
    400: "VALIDATION_FAILED",
    401: "UNAUTHENTICATED",
    403: "NOT_ALLOWED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED",
    503: "TRY_LATER",
}

_log = structlog.get_logger(__name__)


class Problem(Exception):
    """Why a request was not done; raising it anywhere under a handler answers with it.

    Status, title and remediation are the code's own unless given. `facts` become members beside the standard ones
    (`current_version`), and can't replace those.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        title: str | None = None,
        param: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        blockers: Sequence[BaseModel | Mapping[str, Any]] = (),
        remediation: str | None = None,
        facts: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        meaning = CODES[code]
        self.code = code
        self.detail = detail
        self.status = status or meaning.status
        self.title = title or meaning.title
        self.param = param
        self.errors = tuple(errors)
        self.blockers = tuple(blockers)
        self.remediation = remediation or meaning.remediation
        self.facts = dict(facts or {})
        self.headers = dict(headers or {})
        if code == "TRY_LATER":
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_S))

    def body(self, instance: str, request_id: str) -> bytes:
        """The problem as JSON; members without a value are left out."""
        members = {
            "type": f"/problems/{slug_of(self.code)}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "param": self.param,
            "errors": self.errors,
            "blockers": self.blockers,
            "remediation": self.remediation,
            "request_id": request_id,
        }
        present = {name: value for name, value in members.items() if value not in (None, ())}
        return orjson.dumps(self.facts | present, default=_plain, option=orjson.OPT_UTC_Z)


def not_found(what: str = "There is nothing at this path.") -> Problem:
    """The answer for what does not exist and for what belongs to somebody else, which must look the same."""
    return Problem("NOT_FOUND", what)


def problem_response(problem: Problem, scope: Scope) -> Response[bytes]:
    """The answer for a problem."""
    return Response(
        problem.body(_instance(scope), request_id_of(scope)),
        status_code=problem.status,
        media_type=PROBLEM_JSON,
        headers=problem.headers,
    )


async def send_problem(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with a problem from outside of a Litestar handler (middleware, the gateway)."""
    body = problem.body(_instance(scope), request_id_of(scope))
    headers = [(b"content-type", PROBLEM_JSON.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in problem.headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def problem_for_exception(error: Exception) -> Problem:
    """The problem that stands for an error; what is not foreseen is `INTERNAL_ERROR` and says nothing else."""
    match error:
        case Problem():
            return error
        case Transient():
            return Problem("TRY_LATER", "A part that is needed for this is not available right now.")
        case Poison():
            return Problem("VALIDATION_FAILED", error.detail, facts={"reason": error.reason})
        case ValidationException():
            return _parameter_problem(error)
        case ValidationError():
            return _model_problem(error)
        case HTTPException() if error.status_code < 500 or error.status_code in _STATUS_CODES:
            return _http_problem(error)
        case _:
            return Problem("INTERNAL_ERROR", "Something went wrong on our side. It has been logged.")


def _answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    problem = problem_for_exception(error)
    if problem.code == "INTERNAL_ERROR":
        _log.error("request failed", path=_instance(request.scope), method=request.method, **_whereabouts(error))
    elif isinstance(error, Transient | ValidationError):
        _log.warning("request not done", path=_instance(request.scope), code=problem.code, error=type(error).__name__)
    return problem_response(problem, request.scope)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {HTTPException: _answer, Exception: _answer}
"""For Litestar: every error becomes a problem."""


def _parameter_problem(error: ValidationException) -> Problem:
    extra = error.extra if isinstance(error.extra, list) else []
    errors = [
        {"param": str(item.get("key", "")), "code": "INVALID_VALUE", "detail": str(item.get("message", "not valid"))}
        for item in extra
        if isinstance(item, dict)
    ]
    if not errors:
        return Problem("VALIDATION_FAILED", "A parameter is missing or not valid.")
    return Problem("VALIDATION_FAILED", errors[0]["detail"], param=errors[0]["param"], errors=errors)


def _model_problem(error: ValidationError) -> Problem:
    errors = [
        {"param": ".".join(map(str, item["loc"])), "code": "INVALID_VALUE", "detail": item["msg"]}
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return Problem("VALIDATION_FAILED", errors[0]["detail"], param=errors[0]["param"] or None, errors=errors)


def _http_problem(error: HTTPException) -> Problem:
    code = _STATUS_CODES.get(error.status_code, "VALIDATION_FAILED")
    return Problem(
        code, _HTTP_DETAILS.get(code, error.detail), status=error.status_code, headers=dict(error.headers or {})
    )


def _whereabouts(error: BaseException) -> dict[str, str]:
    """Type and stack of an error without its text, which may quote what the client sent."""
    return {"failure": describe(error), "stack": "".join(traceback.format_tb(error.__traceback__))}


_HTTP_DETAILS = {
    "NOT_FOUND": "There is nothing at this path.",
    "METHOD_NOT_ALLOWED": "This path does not take this method.",
    "PAYLOAD_TOO_LARGE": "The body is larger than this path accepts.",
}


def _instance(scope: Scope) -> str:
    return scope["raw_path"].partition(b"?")[0].decode("latin-1") if scope.get("raw_path") else scope["path"]


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return str(value)
