"""Upstream failures as answers to our client: a status, an OpenAI error object, Retry-After."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EMFILE, ENFILE
from typing import Any

import aiohttp
import httpx2
import openai
from fastapi.responses import JSONResponse, Response

from server.http.errors import RETRY_AFTER_S
from server.ops.logs import LOG
from server.relay.chunks import FAILED_MIDWAY

TYPE = "upstream_error"
UNREACHABLE = {
    "message": "the connection to the upstream could not be made or was lost",
    "type": "upstream_unreachable",
}
TIMED_OUT = {"message": "the upstream did not answer in time", "type": "upstream_timeout"}
# The upstream's own message may contain a part of the key.
KEY_REJECTED = {"message": "the upstream did not accept this service's key", "type": TYPE}
REDIRECTED = {"message": "the upstream answered with a redirect, which is not followed", "type": TYPE}
INCOMPLETE = {"message": "the upstream ended its answer before it was complete", "type": TYPE}
NOT_A_STREAM = {"message": "the upstream did not answer with a stream", "type": TYPE}
NO_DESCRIPTORS = {"message": "this service has no file descriptors left to connect to its upstream", "type": "refused"}
NOT_JSON = {"message": "the upstream's answer is not a JSON object", "type": TYPE}
# Error types, codes and phrases that concern the key, besides the statuses 401 and 403.
_KEY_CODES = frozenset(
    ["401", "403", "invalid_api_key", "authentication_error", "permission_error", "unauthorized", "forbidden"]
)
_KEY_PHRASES = re.compile(r"api[ _-]?key|\bsk-[\w*-]{3}", re.IGNORECASE)
CLIENT_ERRORS = (openai.APIStatusError, openai.APIConnectionError, httpx2.TransportError, aiohttp.ClientError)
"""What openai's client and its transports raise."""


class AnswerError(Exception):
    """A chat's answer is replaced, or ended, by an error.

    `status` is sent if nothing has been sent yet. `error` is an OpenAI error object.
    """

    def __init__(self, status: int, error: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(error.get("message"))
        self.status = status
        self.error = {"code": None, "param": None} | error
        self.headers = headers or {}

    def response(self, headers: dict[str, str] | None = None) -> Response:
        """Build the response, with `headers` besides the error's own."""
        return JSONResponse({"error": self.error}, self.status, self.headers | (headers or {}))


class UpstreamError(AnswerError):
    """The upstream refused, failed or could not be reached.

    `status` is the upstream's own for 4xx, else 502, 503 or 504; for an error inside a 200 see `reported_error`.
    """

    def __init__(self, status: int, error: dict[str, Any], retry_after: str | None = None) -> None:
        super().__init__(status, error, {"Retry-After": retry_after} if retry_after else None)


class ConnectionLostError(UpstreamError):
    """The connection to the upstream could not be made, or broke."""


SHUTTING_DOWN = AnswerError(
    503, {"message": "server is shutting down", "type": "shutdown", "code": "shutdown"}, {"Retry-After": RETRY_AFTER_S}
)
# 499 as in nginx: OpenAI's clients retry 408, 409, 429 and 5xx, and a retry of a stopped answer would be paid twice.
ABORTED = AnswerError(
    499, {"message": "the chat was aborted", "type": "aborted", "code": "aborted"}, {"X-Should-Retry": "false"}
)


@contextmanager
def converted_errors() -> Iterator[None]:
    """Raise CLIENT_ERRORS of the block as `UpstreamError`."""
    try:
        yield
    except CLIENT_ERRORS as error:
        raise to_upstream_error(error) from error


def to_upstream_error(error: Exception) -> UpstreamError:
    """Convert one of CLIENT_ERRORS."""
    if isinstance(error, openai.APIStatusError):
        return _from_status(error)
    if any(isinstance(cause, OSError) and cause.errno in (EMFILE, ENFILE) for cause in _causes(error)):
        LOG.warning("no file descriptor left to connect to the upstream: raise the limit (ulimit -n)")
        return UpstreamError(503, NO_DESCRIPTORS, RETRY_AFTER_S)
    timed_out = isinstance(error, openai.APITimeoutError | httpx2.TimeoutException)
    # openai's aiohttp transport reports a refused connection as a timeout, too.
    if timed_out and any(isinstance(cause, TimeoutError | httpx2.ReadTimeout) for cause in _causes(error)):
        return UpstreamError(504, TIMED_OUT)
    return ConnectionLostError(502, UNREACHABLE)


def _from_status(error: openai.APIStatusError) -> UpstreamError:
    status, retry_after = error.status_code, error.response.headers.get("Retry-After")
    if status < 400:
        return UpstreamError(502, REDIRECTED)
    if status in (401, 403):  # about the service's key, which its clients cannot change
        return UpstreamError(502, KEY_REJECTED, retry_after)
    return UpstreamError(status if status < 500 else 502, _error_object(error), retry_after)


def _error_object(error: openai.APIStatusError) -> dict[str, Any]:
    """Convert `{"detail": ...}` and `{"error": "..."}` of other servers to OpenAI's shape."""
    body = error.body
    if not isinstance(body, dict):
        is_json = "json" in error.response.headers.get("Content-Type", "")
        return {"message": body if is_json and isinstance(body, str) else error.message, "type": TYPE}
    return _with_message(body, error.message)


def _with_message(payload: dict[str, Any], default: str) -> dict[str, Any]:
    message = payload.get("message") or payload.get("detail") or default
    return {"type": TYPE} | payload | {"message": message if isinstance(message, str) else str(message)}


def reported_error(reported: Any) -> UpstreamError:
    """Convert an error inside an answer with status 200: an object, or a sentence.

    The status is its `code` if that is a 4xx or 5xx, else 502.
    """
    error = _with_message(reported, FAILED_MIDWAY) if isinstance(reported, dict) else None
    error = error or {"message": str(reported), "type": TYPE}
    code = str(error.get("code"))
    about_key = {code.lower(), str(error["type"]).lower()} & _KEY_CODES or _KEY_PHRASES.search(str(error))
    if about_key:
        return UpstreamError(502, KEY_REJECTED)
    status = int(code) if re.fullmatch(r"[45]\d\d", code) else 502
    return UpstreamError(status, error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
