"""How a refusal looks: FastAPI's `detail`, and beside it OpenAI's `error`, for clients of either kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

RETRY_AFTER_S = "1"
_OURS = (409, 429, 503)  # the request is good, and may be granted at another time
_SHOWN = {"type", "loc", "msg"}
"""Of what pydantic says about a fault. Not `input`: it may be large, secret, or impossible to encode."""


def refusal(
    status: int,
    detail: str | Sequence[Mapping[str, Any]],
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
) -> Response:
    """The answer to a request that is refused; `detail` is a sentence, or what is wrong with which part of it."""
    message = detail if isinstance(detail, str) else "; ".join(map(_sentence, detail))
    kind = "refused" if status in _OURS else "server_error" if status == 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "code": code, "param": None}
    retry = {"Retry-After": RETRY_AFTER_S} if status in (429, 503) else {}
    return JSONResponse({"detail": detail, "error": error}, status, retry | dict(headers or {}))


def _sentence(problem: Mapping[str, Any]) -> str:
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"


async def refuse(request: Request, error: Exception) -> Response:
    """Answer what FastAPI or an endpoint refuses; a path or method that OpenAI's API has and we have not is named."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these only
    path, method = request.scope["path"][:200], request.method
    if path.startswith("/v1/") and error.status_code == 404:
        return refusal(404, f"{method} {path} is not served{_instead(path)}", error.headers, "unknown_url")
    if path.startswith("/v1/") and error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return refusal(405, f"{method} {path} is not served; use {allowed}", error.headers, "method_not_supported")
    return refusal(error.status_code, error.detail, error.headers)


def _instead(path: str) -> str:
    if path.startswith("/v1/responses"):
        return ": the Responses API is not supported; use POST /v1/chat/completions"
    return "; use POST /v1/chat/completions, GET /v1/models or GET /v1/models/{model}"


async def refuse_invalid(_: Request, error: Exception) -> Response:
    """What pydantic has found, in both shapes."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for these only
    faults = [{key: value for key, value in fault.items() if key in _SHOWN} for fault in error.errors()]
    return refusal(422, jsonable_encoder(faults))


async def refuse_fault(_: Request, __: Exception) -> Response:
    """Answer 500 for a fault of ours; the server logs its traceback."""
    return refusal(500, "The service failed to answer; its log says why")
