"""What goes wrong at the upstream, in the words of our client: a status, OpenAI's error object, when to try again."""

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

from server.http.refusals import RETRY_AFTER_S
from server.ops.logs import LOG
from server.relay.chunks import FAILED

TYPE = "upstream_error"
UNREACHABLE = {
    "message": "the connection to the upstream could not be made or was lost",
    "type": "upstream_unreachable",
}
TIMED_OUT = {"message": "the upstream did not answer in time", "type": "upstream_timeout"}
# Their words for it may hold a part of the key.
KEY_REFUSED = {"message": "the upstream did not accept this service's key", "type": TYPE}
REDIRECTED = {"message": "the upstream answered with a redirect, which is not followed", "type": TYPE}
BROKEN_OFF = {"message": "the upstream ended its answer before it was complete", "type": TYPE}
NO_STREAM = {"message": "the upstream did not answer with a stream", "type": TYPE}
NO_FILES = {"message": "this service has no file descriptors left to connect to its upstream", "type": "refused"}
# Error types, codes and words of an answer about the key, beside the statuses 401 and 403.
_KEY_CODES = frozenset(
    ["401", "403", "invalid_api_key", "authentication_error", "permission_error", "unauthorized", "forbidden"]
)
_KEY_WORDS = re.compile(r"api[ _-]?key|\bsk-[\w*-]{3}", re.IGNORECASE)
NO_JSON = {"message": "the upstream's answer is no JSON object", "type": TYPE}
FAILURES = (openai.APIStatusError, openai.APIConnectionError, httpx2.TransportError, aiohttp.ClientError)


class AnswerError(Exception):
    """Why a chat gets an error in place of an answer, or of the rest of one.

    `status` is what the client gets if nothing has been sent yet. `error` is an OpenAI error object.
    """

    def __init__(self, status: int, error: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(error.get("message"))
        self.status = status
        self.error = {"code": None, "param": None} | error
        self.headers = headers or {}

    def response(self, headers: dict[str, str] | None = None) -> Response:
        """The whole answer, with `headers` besides its own."""
        return JSONResponse({"error": self.error}, self.status, self.headers | (headers or {}))


class UpstreamError(AnswerError):
    """The upstream refused, failed or could not be reached.

    The status is the upstream's own for 4xx, else 502 or 504; see `stated` for an error in an answer that began well.
    """

    def __init__(self, status: int, error: dict[str, Any], retry_after: str | None = None) -> None:
        super().__init__(status, error, {"Retry-After": retry_after} if retry_after else None)


class ConnectionLostError(UpstreamError):
    """The connection to the upstream could not be made, or broke."""


SHUTTING_DOWN = AnswerError(
    503, {"message": "server is shutting down", "type": "shutdown", "code": "shutdown"}, {"Retry-After": RETRY_AFTER_S}
)
# 499 as nginx has it: OpenAI's clients try 408, 409, 429 and 5xx again, and a stopped answer would be paid for twice.
ABORTED = AnswerError(
    499, {"message": "the chat was aborted", "type": "aborted", "code": "aborted"}, {"X-Should-Retry": "false"}
)


@contextmanager
def translated() -> Iterator[None]:
    """Have what the upstream does wrong in the block raised as `UpstreamError`."""
    try:
        yield
    except FAILURES as error:
        raise ours(error) from error


def ours(error: Exception) -> UpstreamError:
    """What one of FAILURES means to our client."""
    if isinstance(error, openai.APIStatusError):
        return _answered(error)
    if any(isinstance(cause, OSError) and cause.errno in (EMFILE, ENFILE) for cause in _causes(error)):
        LOG.warning("no file descriptor left to connect to the upstream: raise the limit (ulimit -n)")
        return UpstreamError(503, NO_FILES, RETRY_AFTER_S)
    timed_out = isinstance(error, openai.APITimeoutError | httpx2.TimeoutException)
    # openai's aiohttp transport calls a refused connection a timeout, too.
    if timed_out and any(isinstance(cause, TimeoutError | httpx2.ReadTimeout) for cause in _causes(error)):
        return UpstreamError(504, TIMED_OUT)
    return ConnectionLostError(502, UNREACHABLE)


def _answered(error: openai.APIStatusError) -> UpstreamError:
    status, retry_after = error.status_code, error.response.headers.get("Retry-After")
    if status < 400:
        return UpstreamError(502, REDIRECTED)
    if status in (401, 403):  # about our key, which is no business of our client's
        return UpstreamError(502, KEY_REFUSED, retry_after)
    return UpstreamError(status if status < 500 else 502, _error_object(error), retry_after)


def _error_object(error: openai.APIStatusError) -> dict[str, Any]:
    """OpenAI's shape for what other servers call `{"detail": ...}` or `{"error": "..."}`."""
    said = error.body
    if not isinstance(said, dict):
        is_json = "json" in error.response.headers.get("Content-Type", "")
        return {"message": said if is_json and isinstance(said, str) else error.message, "type": TYPE}
    return _shaped(said, error.message)


def _shaped(said: dict[str, Any], otherwise: str) -> dict[str, Any]:
    message = said.get("message") or said.get("detail") or otherwise
    return {"type": TYPE} | said | {"message": message if isinstance(message, str) else str(message)}


def stated(said: Any) -> UpstreamError:
    """The error that an upstream states in an answer with status 200: `said` is an object, or a sentence.

    The status is its `code` if that is a 4xx or 5xx, else 502.
    """
    error = _shaped(said, FAILED) if isinstance(said, dict) else {"message": str(said), "type": TYPE}
    code = str(error.get("code"))
    about_key = {code.lower(), str(error["type"]).lower()} & _KEY_CODES or _KEY_WORDS.search(str(error))
    if about_key:
        return UpstreamError(502, KEY_REFUSED)
    status = int(code) if re.fullmatch(r"[45]\d\d", code) else 502
    return UpstreamError(status, error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
