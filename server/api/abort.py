"""POST /abort/: record the abort, answer, then log and count it; with a fast path around the framework.

The time from the request to the record is part of every stop's latency.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import Annotated, Literal

from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from backends import AbortOutcome, StoreUnavailableError
from server.api import openapi_docs
from server.http.errors import RETRY_AFTER_S
from server.http.request_guard import REQUEST_BODY
from server.http.schemas import RequestId
from server.http.security import OWNER
from server.http.strict_json import parse_json
from server.ops import metrics
from server.ops.logs import LOG
from server.ops.spans import SPANS
from server.ops.trace import AbortTrace
from server.worker import Worker

PATH = "/abort/"
NOT_FOUND = "Request ID not found"


def _integral(value: object) -> object:
    """Convert 1.0 to 1: JSON Schema counts it as an integer, but neither true nor "1"."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class AbortRequest(BaseModel):
    """The chat to stop, and how long to wait for the confirmation."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"request_id": openapi_docs.ID, "wait_ms": 2000}]}
    )

    request_id: RequestId
    wait_ms: Annotated[int, Field(ge=0, le=30_000, strict=True), BeforeValidator(_integral)] = 0


class Aborted(BaseModel):
    """The abort is recorded; `stopped` means that the chat's worker has closed the upstream connection."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "message": f"Streaming for request {openapi_docs.ID} will be aborted.",
                    "request_id": openapi_docs.ID,
                    "status": "stopped",
                }
            ]
        }
    )

    message: str
    request_id: str
    status: Literal["accepted", "already_aborted", "stopped"]


class NotFound(BaseModel):
    """No live chat of this API key has the id; a chat that starts with it within `remembered_s` is stopped at once."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"detail": NOT_FOUND}, {"detail": NOT_FOUND, "remembered_s": 10.0}]}
    )

    detail: str
    remembered_s: float | None = None


class AbortResponse(Response):
    """The answer to one abort, as an ASGI application."""

    def __init__(self, request: AbortRequest, owner: str, worker: Worker) -> None:
        super().__init__()
        self._request = request
        self._owner = owner
        self._worker = worker
        self._trace = AbortTrace(request.request_id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record the abort and answer."""
        trace = self._trace
        # Not the current span, because it has no children: without an exporter this is its whole cost.
        span = SPANS.start_span("abort", attributes={"request_id": trace.request_id})
        try:
            response = await self._record()
            await response(scope, receive, send)
        finally:
            self._worker.tracer.write(trace)
            metrics.ABORTS.labels(trace.outcome).inc()
            LOG.info("abort", extra={"request_id": trace.request_id, "outcome": trace.outcome})
            span.set_attribute("outcome", trace.outcome)
            span.end()

    async def _record(self) -> Response:
        request, trace = self._request, self._trace

        def recorded() -> None:
            trace.recorded_ns = monotonic_ns()

        wait_s = request.wait_ms / 1000
        try:
            outcome = await self._worker.delivery.abort(
                request.request_id, self._owner, wait_s=wait_s, on_record=recorded
            )
        except StoreUnavailableError:
            detail = "The abort could not be recorded: the store cannot be reached. Try again."
            return JSONResponse({"detail": detail}, 503, {"Retry-After": RETRY_AFTER_S})
        trace.outcome = outcome.value
        await self._worker.low_priority.turn()  # upstreams are closed before answers are built
        if outcome is AbortOutcome.UNKNOWN:
            return JSONResponse({"detail": NOT_FOUND}, 404)
        if outcome is AbortOutcome.REMEMBERED:
            return JSONResponse({"detail": NOT_FOUND, "remembered_s": self._worker.settings.abort_remember_s}, 404)
        message = f"Streaming for request {request.request_id} will be aborted."
        answer = Aborted(message=message, request_id=request.request_id, status=outcome.value)
        return JSONResponse(
            answer.model_dump(), headers={"Server-Timing": self._timing(), "X-Worker": self._worker.name}
        )

    def _timing(self) -> str:
        """Format the times from the abort's arrival to its record and, if confirmed, to the closed upstream (ms).

        The format is W3C's "Server Timing", which scripts in a browser can read.
        """
        trace = self._trace
        times = {"recorded": trace.recorded_ns}
        if trace.outcome == AbortOutcome.STOPPED:
            times["stopped"] = monotonic_ns()
        return ", ".join(
            f"{name};dur={(time_ns - trace.received_ns) / 1e6:.3f}"
            for name, time_ns in times.items()
            if time_ns is not None
        )


class DirectAbortMiddleware:
    """Answers valid aborts without the framework's routing, dependencies and validation, half of their duration.

    Any other request goes to the framework, which is the only source of error responses.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a valid abort, or call the application."""
        response = None
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
            response = _parse_abort(scope)
        await (response or self._app)(scope, receive, send)


def _parse_abort(scope: Scope) -> AbortResponse | None:
    headers = dict(reversed(scope["headers"]))  # of equal names the first counts, as in Starlette
    if headers.get(b"content-type") != b"application/json":
        return None
    try:
        request = AbortRequest.model_validate(parse_json(scope[REQUEST_BODY]))
    except (ValueError, RecursionError):  # invalid JSON, UTF-8 or schema
        return None
    return AbortResponse(request, scope[OWNER], scope["app"].state.worker)
