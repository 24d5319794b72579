"""One abort: recorded first, then answered, then accounted for; and a way past the framework for those that are plain.

What lies between the request and the record is what somebody waits for who has pressed Stop.
"""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import Annotated, Literal

from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from backends import AbortOutcome, StoreUnavailableError
from server.api import answers
from server.http.limits import WHOLE_BODY
from server.http.refusals import RETRY_AFTER_S
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


def _whole(value: object) -> object:
    """JSON Schema's integers are numbers without a fraction, 1.0 too; neither true nor "1" is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class AbortRequest(BaseModel):
    """Which chat to stop, and how long to wait until it has stopped."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"request_id": answers.ID, "wait_ms": 2000}]}
    )

    request_id: RequestId
    wait_ms: Annotated[int, Field(ge=0, le=30_000, strict=True), BeforeValidator(_whole)] = 0


class Aborted(BaseModel):
    """The abort is recorded; `stopped` says that the owner has closed the upstream."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "message": f"Streaming for request {answers.ID} will be aborted.",
                    "request_id": answers.ID,
                    "status": "stopped",
                }
            ]
        }
    )

    message: str
    request_id: str
    status: Literal["accepted", "already_aborted", "stopped"]


class NotFound(BaseModel):
    """No live chat of yours has this id; one that starts within `remembered_s` will be stopped at its start."""

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
        # Not made the current one, for it has no children: without an exporter this is all that it costs.
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
        await asyncio.sleep(0)  # a chat of this very worker closes its upstream before the answer is even made
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
        """How long after the abort's arrival it was recorded and, if that was awaited, the upstream closed (ms).

        In the form of W3C's "Server Timing": a browser's page can show it beside its own clock.
        """
        trace = self._trace
        moments = {"recorded": trace.recorded_ns}
        if trace.outcome == AbortOutcome.STOPPED:
            moments["stopped"] = monotonic_ns()
        return ", ".join(
            f"{name};dur={(moment_ns - trace.received_ns) / 1e6:.3f}"
            for name, moment_ns in moments.items()
            if moment_ns is not None
        )


class DirectAborts:
    """Takes aborts that are in order past the framework's routing, dependencies and validation: half of their time.

    Whatever is unusual about one is the framework's to judge, so that there is one source of refusals.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        response = None
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
            response = _understood(scope)
        await (response or self._app)(scope, receive, send)


def _understood(scope: Scope) -> AbortResponse | None:
    headers = dict(reversed(scope["headers"]))  # of several with one name the first counts, as in Starlette
    if headers.get(b"content-type") != b"application/json":
        return None
    try:
        request = AbortRequest.model_validate(parse_json(scope[WHOLE_BODY]))
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or not what the schema says
        return None
    return AbortResponse(request, scope[OWNER], scope["app"].state.worker)
