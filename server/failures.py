"""What goes wrong at the upstream, in the words of our client: a status, OpenAI's error object, when to try again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import httpx2
import openai
from fastapi.responses import JSONResponse, Response

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
NO_JSON = {"message": "the upstream's answer is no JSON object", "type": TYPE}
FAILURES = (openai.APIStatusError, openai.APIConnectionError, httpx2.TransportError, aiohttp.ClientError)


class UpstreamError(Exception):
    """The upstream refused, failed or could not be reached.

    `status` is what our client gets: the upstream's own for 4xx, else 502 or 504. `error` is an OpenAI error object.
    """

    def __init__(self, status: int, error: dict[str, Any], retry_after: str | None = None) -> None:
        super().__init__(error.get("message"))
        self.status = status
        self.error = {"code": None, "param": None} | error
        self.retry_after = retry_after

    def response(self) -> Response:
        """The answer to the request that it befell."""
        headers = {"Retry-After": self.retry_after} if self.retry_after else None
        return JSONResponse({"error": self.error}, self.status, headers)


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
    timed_out = isinstance(error, openai.APITimeoutError | httpx2.TimeoutException)
    # openai's aiohttp transport calls a refused connection a timeout, too.
    if timed_out and any(isinstance(cause, TimeoutError | httpx2.ReadTimeout) for cause in _causes(error)):
        return UpstreamError(504, TIMED_OUT)
    return UpstreamError(502, UNREACHABLE)


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
    message = said.get("message") or said.get("detail") or error.message
    return {"type": TYPE} | said | {"message": message if isinstance(message, str) else str(message)}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
