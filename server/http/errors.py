"""Error responses in two shapes at once: FastAPI's `detail` and OpenAI's `error`.

Without FastAPI, so that the supervisor need not import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

RETRY_AFTER_S = "1"
_REFUSED = (409, 429, 503)  # the request is valid, and may succeed later


def error_response(
    status: int,
    detail: str | Sequence[Mapping[str, Any]],
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
) -> Response:
    """Build an error response; `detail` is a sentence, or pydantic's list of invalid fields."""
    message = detail if isinstance(detail, str) else "; ".join(map(_format_problem, detail))
    kind = "refused" if status in _REFUSED else "server_error" if status == 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "code": code, "param": None}
    retry = {"Retry-After": RETRY_AFTER_S} if status in (429, 503) else {}
    return JSONResponse({"detail": detail, "error": error}, status, retry | dict(headers or {}))


def _format_problem(problem: Mapping[str, Any]) -> str:
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
