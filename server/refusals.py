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


def refusal(
    status: int, detail: str | Sequence[Mapping[str, Any]], headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to a request that is refused; `detail` is a sentence, or what is wrong with which part of it."""
    message = detail if isinstance(detail, str) else "; ".join(map(_sentence, detail))
    kind = "refused" if status in _OURS else "invalid_request_error"
    error = {"message": message, "type": kind, "code": None, "param": None}
    retry = {"Retry-After": RETRY_AFTER_S} if status in (429, 503) else {}
    return JSONResponse({"detail": detail, "error": error}, status, retry | dict(headers or {}))


def _sentence(problem: Mapping[str, Any]) -> str:
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"


async def refuse(_: Request, error: Exception) -> Response:
    """FastAPI's 400 is a body that cannot even be read (no UTF-8, nested without end): as invalid as any other."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these only
    if error.status_code == 400:
        return refusal(422, [{"type": "json_invalid", "loc": ["body"], "msg": "The body is no valid JSON"}])
    return refusal(error.status_code, error.detail, error.headers)


async def refuse_invalid(_: Request, error: Exception) -> Response:
    """What pydantic has found, in both shapes."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for these only
    return refusal(422, jsonable_encoder(error.errors()))
