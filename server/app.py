"""The HTTP face of the chat service: start a chat, abort it, ask how the worker is."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from time import monotonic_ns
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

import backends
from backends import AbortOutcome, Delivery, Options, StoreUnavailableError
from server.chat import RETRY_AFTER_S, ChatResponse
from server.limits import BodyLimit
from server.settings import Settings
from server.trace import AbortTrace, Tracer
from server.upstream import make_client

NOT_FOUND = "Request ID not found"
ANYBODY = "anybody"  # without API keys every caller is the same owner

RequestId = Annotated[str, Field(pattern=r"^[!-~]{1,128}$", description="1-128 visible ASCII characters")]


class ChatRequest(BaseModel):
    """OpenAI's chat completion request, and an id to stop it by; further OpenAI parameters pass through."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    request_id: RequestId | None = None


class AbortRequest(BaseModel):
    """Which chat to stop, and how long to wait until it has stopped."""

    model_config = ConfigDict(extra="forbid")

    request_id: RequestId
    wait_ms: Annotated[int, Field(ge=0, le=30_000)] = 0


def open_delivery(settings: Settings) -> Delivery:
    """The configured strategy, not yet entered. Raises `BackendUrlError`."""
    return backends.from_url(
        settings.abort_backend.get_secret_value(),
        Options(
            namespace=settings.abort_namespace,
            ttl_s=settings.abort_ttl_s,
            remember_s=settings.abort_remember_s,
            interval_ms=settings.abort_interval_ms,
            start_unregistered=settings.abort_outage == "start",
        ),
    )


def create_app(settings: Settings | None = None) -> FastAPI:
    """One worker's application; the settings come from the environment unless given."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _end_with_the_supervisor()
        app.state.tracer = Tracer(settings.trace_dir)
        async with open_delivery(settings) as app.state.delivery, make_client(settings) as app.state.client:
            yield
        app.state.tracer.close()

    app = FastAPI(title="Chat with an honest Stop", lifespan=lifespan)
    app.add_middleware(BodyLimit, most_bytes=settings.max_body_bytes)

    @app.post("/chat/", response_class=Response)
    async def chat(request: ChatRequest, http: Request, accept: Annotated[str, Header()] = "") -> Response:
        """Stream an answer under a `request_id`, which `X-Request-Id` repeats."""
        return ChatResponse(
            request.model_dump(exclude={"request_id"}),
            request_id=request.request_id or secrets.token_urlsafe(16),
            owner=ANYBODY,
            as_text=accept.startswith("text/plain"),
            delivery=http.app.state.delivery,
            client=http.app.state.client,
            tracer=http.app.state.tracer,
        )

    @app.post("/abort/")
    async def abort(request: AbortRequest, http: Request) -> Response:
        """Stop the chat with this `request_id`, whichever worker holds it."""
        delivery: Delivery = http.app.state.delivery
        trace = AbortTrace(request.request_id)
        try:
            outcome = await delivery.abort(request.request_id, ANYBODY, wait_s=request.wait_ms / 1000)
            trace.recorded_ns, trace.outcome = monotonic_ns(), outcome.value
        except StoreUnavailableError:
            detail = "The abort could not be recorded: the store cannot be reached. Try again."
            return JSONResponse({"detail": detail}, 503, {"Retry-After": RETRY_AFTER_S})
        finally:
            http.app.state.tracer.write(trace)
        if outcome is AbortOutcome.UNKNOWN:
            return JSONResponse({"detail": NOT_FOUND}, 404)
        if outcome is AbortOutcome.REMEMBERED:
            return JSONResponse({"detail": NOT_FOUND, "remembered_s": settings.abort_remember_s}, 404)
        message = f"Streaming for request {request.request_id} will be aborted."
        return JSONResponse({"message": message, "request_id": request.request_id, "status": outcome.value})

    @app.get("/healthz")
    async def healthz(http: Request) -> dict[str, Any]:
        """Say that this worker is alive, and what it is."""
        delivery: Delivery = http.app.state.delivery
        strategy = "none" if delivery.name == "none" else f"{delivery.store.name}-{delivery.name}"
        return {
            "status": "ok",
            "pid": os.getpid(),
            "strategy": strategy,
            "live": delivery.live,
            "asgi": http.scope["asgi"],
        }

    @app.get("/readyz")
    async def readyz(http: Request) -> Response:
        """Say whether an abort can reach this worker now: store reachable, listener up; 503 if not."""
        delivery: Delivery = http.app.state.delivery
        content = {"ready": delivery.ready, "pid": os.getpid(), **asdict(delivery.counters)}
        return JSONResponse(content, 200 if delivery.ready else 503)

    return app


def _end_with_the_supervisor() -> None:
    """Shut this worker down when the supervisor dies: uvicorn's workers would live on, holding the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        asyncio.get_running_loop().add_reader(parent.sentinel, signal.raise_signal, signal.SIGTERM)
