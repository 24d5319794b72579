"""The service's own endpoints: POST /chat/ and POST /abort/."""

from __future__ import annotations

import secrets
from time import monotonic_ns
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from backends import AbortOutcome, StoreUnavailableError
from server import metrics
from server.chat import RETRY_AFTER_S, ChatResponse
from server.logs import LOG
from server.schemas import CHAT_ANSWERS, RequestId, UpstreamChat, refusal
from server.security import Owner
from server.trace import AbortTrace
from server.worker import worker_of

NOT_FOUND = "Request ID not found"
router = APIRouter()


class ChatRequest(UpstreamChat):
    """OpenAI's chat completion request, and an id to stop it by."""

    request_id: RequestId | None = None


class AbortRequest(BaseModel):
    """Which chat to stop, and how long to wait until it has stopped."""

    model_config = ConfigDict(extra="forbid")

    request_id: RequestId
    wait_ms: Annotated[int, Field(ge=0, le=30_000, strict=True)] = 0


class Aborted(BaseModel):
    """The abort is recorded; `stopped` says that the owner has closed the upstream."""

    message: str
    request_id: str
    status: Literal["accepted", "already_aborted", "stopped"]


class NotFound(BaseModel):
    """No live chat of yours has this id; one that starts within `remembered_s` will be stopped at its start."""

    detail: str
    remembered_s: float | None = None


@router.post("/chat/", response_class=Response, responses=CHAT_ANSWERS)
async def chat(request: ChatRequest, http: Request, owner: Owner, accept: Annotated[str, Header()] = "") -> Response:
    """Stream an answer under a `request_id`, which the header `X-Request-Id` repeats.

    The last chunk's `finish_reason` says why it ended: `abort` if it was stopped. `Accept: text/plain` gives bare text.
    """
    body: dict[str, Any] = request.model_dump(exclude={"request_id"})
    return ChatResponse(
        body | {"stream": True},
        request_id=request.request_id or secrets.token_urlsafe(16),
        owner=owner,
        worker=worker_of(http),
        as_text=accept.startswith("text/plain"),
    )


@router.post(
    "/abort/",
    response_model=Aborted,
    responses={
        401: refusal("no API key, or an unknown one"),
        404: {"model": NotFound, "description": "unknown, finished, or somebody else's"},
        413: refusal("the body is too large"),
        503: refusal("the store cannot be reached, and nothing was recorded; try again after Retry-After"),
    },
)
async def abort(request: AbortRequest, http: Request, owner: Owner) -> Response:
    """Stop the chat with this `request_id`, whichever worker holds it."""
    worker = worker_of(http)
    trace = AbortTrace(request.request_id)
    try:
        outcome = await worker.delivery.abort(request.request_id, owner, wait_s=request.wait_ms / 1000)
        trace.recorded_ns, trace.outcome = monotonic_ns(), outcome.value
    except StoreUnavailableError:
        detail = "The abort could not be recorded: the store cannot be reached. Try again."
        return JSONResponse({"detail": detail}, 503, {"Retry-After": RETRY_AFTER_S})
    finally:
        worker.tracer.write(trace)
        metrics.ABORTS.labels(trace.outcome).inc()
        LOG.info("abort", extra={"request_id": request.request_id, "outcome": trace.outcome})
    if outcome is AbortOutcome.UNKNOWN:
        return JSONResponse({"detail": NOT_FOUND}, 404)
    if outcome is AbortOutcome.REMEMBERED:
        return JSONResponse({"detail": NOT_FOUND, "remembered_s": worker.settings.abort_remember_s}, 404)
    message = f"Streaming for request {request.request_id} will be aborted."
    answer = Aborted(message=message, request_id=request.request_id, status=outcome.value)
    return JSONResponse(answer.model_dump())
