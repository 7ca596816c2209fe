"""Errors as clients see them: problem details (RFC 9457), with both numbers and what to do."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from quickstudy.core.errors import (
    ConfigError,
    DataError,
    GalleryError,
    LoadError,
    QuickstudyError,
)
from quickstudy.gallery import DuplicateError, OnePhotoError

MEDIA_TYPE = "application/problem+json"
_SCHEMA = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "request_id"],
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": about, "content": {MEDIA_TYPE: {"schema": _SCHEMA}}}
    for status, about in (
        ("4XX", "The request is refused, and why."),
        ("5XX", "The server cannot answer now."),
    )
}
"""What any request may be answered with, for the description of the interface."""
_TITLES = {
    400: "The request cannot be used",
    401: "A valid key is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "The request took too long to arrive",
    409: "In conflict with what is there",
    410: "No longer here",
    413: "Too large",
    415: "Not a format that can be read",
    421: "Not a name of this server",
    422: "The request cannot be understood",
    429: "Too many requests",
    500: "The server made a mistake",
    503: "Not ready",
    504: "Too late",
}


class ProblemError(Exception):
    """What is answered in place of a result.

    Args:
        status: of HTTP.
        detail: what was expected, what came, what to do.
        headers: of the answer.
        extra: further members of the problem.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.extra = status, detail, headers, extra


def problem_body(status: int, detail: str, request_id: str, **extra: Any) -> dict[str, Any]:
    """The members of a problem."""
    title = _TITLES.get(status, "Error")
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": request_id,
        **extra,
    }


def install_problems(app: FastAPI) -> None:
    """Have every error answered as a problem."""

    def answer(
        request: Request,
        status: int,
        detail: str,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> JSONResponse:
        request_id = request.scope.get("state", {}).get("request_id", "")
        body = problem_body(status, detail, request_id, **extra)
        return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)

    @app.exception_handler(ProblemError)
    def _problem(request: Request, error: ProblemError) -> JSONResponse:
        return answer(request, error.status, error.detail, error.headers, **error.extra)

    @app.exception_handler(QuickstudyError)
    def _ours(request: Request, error: QuickstudyError) -> JSONResponse:
        return answer(request, status_of(error), str(error))

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [
            {"where": "/".join(map(str, one["loc"])), "what": one["msg"]} for one in error.errors()
        ]
        first = f"{wrong[0]['where']}: {wrong[0]['what']}" if wrong else "It has another form."
        return answer(request, 422, f"{first}. See /v1/openapi.json for the form.", errors=wrong)

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        return answer(request, error.status_code, str(error.detail), headers)


def status_of(error: QuickstudyError) -> int:
    """The status of an error that was raised on purpose."""
    text = str(error)
    if isinstance(error, DuplicateError | OnePhotoError):
        return 409
    if text.startswith(("Nobody is called", "There is no class", "There is no template")):
        return 404
    if " already" in text or "is a class, so" in text:
        return 409
    if isinstance(error, LoadError):
        return 503
    if isinstance(error, ConfigError | DataError | GalleryError):
        return 422
    return 500
