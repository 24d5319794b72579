"""FastAPI's exception handlers."""

from __future__ import annotations

from fastapi import Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from server.http.errors import error_response

_REPORTED_KEYS = {"type", "loc", "msg"}
"""The keys of a pydantic error that are sent. Not `input`: it may be large, secret, or impossible to encode."""


async def handle_http_error(request: Request, error: Exception) -> Response:
    """Answer an HTTPException; under /v1 the message names the unsupported path or method and the supported ones."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these only
    path, method = request.scope["path"][:200], request.method
    if path.startswith("/v1/") and error.status_code == 404:
        message = f"{method} {path} is not served{_alternative(path)}"
        return error_response(404, message, error.headers, "unknown_url")
    if path.startswith("/v1/") and error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{method} {path} is not served; use {allowed}"
        return error_response(405, message, error.headers, "method_not_supported")
    return error_response(error.status_code, error.detail, error.headers)


def _alternative(path: str) -> str:
    if path.startswith("/v1/responses"):
        return ": the Responses API is not supported; use POST /v1/chat/completions"
    return "; use POST /v1/chat/completions, GET /v1/models or GET /v1/models/{model}"


async def handle_invalid_request(_: Request, error: Exception) -> Response:
    """Answer 422 with pydantic's list of invalid fields."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for these only
    problems = [{key: value for key, value in each.items() if key in _REPORTED_KEYS} for each in error.errors()]
    return error_response(422, jsonable_encoder(problems))


async def handle_server_error(_: Request, __: Exception) -> Response:
    """Answer 500 after an unexpected exception; the server logs its traceback."""
    return error_response(500, "Internal error: see the service's log")
