"""One worker's application: lifespan, middleware and routes."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from server.api import health, native, openai_api, openapi_docs, page
from server.api.abort import DirectAbortMiddleware
from server.api.admission import refuse_chat
from server.http import protocol
from server.http.cors import OutermostMiddleware
from server.http.error_handlers import handle_http_error, handle_invalid_request, handle_server_error
from server.http.hosts import AllowedHosts
from server.http.request_guard import RequestGuard
from server.http.security import ApiKeys
from server.ops import metrics
from server.ops.logs import start_logging
from server.ops.loop_lag import monitor_loop
from server.ops.revision import revision
from server.ops.trace import Tracer
from server.process import descriptors
from server.process.startup_report import report_startup_errors
from server.relay.connections import open_connections
from server.relay.upstream_client import make_client
from server.settings import Settings
from server.strategy import open_delivery
from server.worker import Worker

GC_THRESHOLD = 50_000
"""New objects between two garbage collections. An ended chat leaves nothing to collect, but many live chats would start
collections, each of which stops the worker: with Python's 700, they took 40 % of the time of 800 aborts at once."""


class _App(FastAPI):
    """FastAPI with OutermostMiddleware around all of its layers, so that internal errors pass through it, too."""

    def __init__(self, cors_origins: str, **options: Any) -> None:
        super().__init__(**options)
        self._cors_origins = cors_origins

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap FastAPI's stack."""
        return OutermostMiddleware(super().build_middleware_stack(), self._cors_origins)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Create one worker's application; the default settings are read from the environment."""
    settings = settings or Settings()
    keys, hosts = ApiKeys(settings), AllowedHosts(settings)
    settings = settings.without_keys()  # only their hashes stay in memory

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, float]]:
        start_logging(settings.log_level)
        tracer = Tracer(settings.trace_dir)
        async with (
            open_delivery(settings) as delivery,
            make_client(settings) as client,
            monitor_loop(tracer, metrics.Sampler(delivery, open_connections)),
        ):
            app.state.worker = worker = Worker(settings, delivery, client, tracer)
            revision()  # look it up now, not in the first request
            _stop_with_supervisor()
            _call_before_shutdown(worker.drain)
            worker.max_chats = descriptors.budget(descriptors.open_files()).chats
            gc.collect()
            gc.freeze()  # exclude what stays from full collections, which would take 50 ms each
            gc.set_threshold(GC_THRESHOLD)
            yield {protocol.DEADLINE_S: settings.request_deadline_s}
        tracer.close()
        metrics.remove_live_values()

    app = _App(
        settings.cors_origins,
        title="stopwatch-chat",
        summary="Start a chat under a request_id, and abort it through any worker.",
        lifespan=report_startup_errors(lifespan),
        separate_input_output_schemas=False,
    )
    app.state.keys = keys
    app.add_middleware(DirectAbortMiddleware)  # inside RequestGuard
    app.add_middleware(RequestGuard, settings=settings, keys=keys, hosts=hosts, refuse=refuse_chat)
    app.add_exception_handler(HTTPException, handle_http_error)
    app.add_exception_handler(RequestValidationError, handle_invalid_request)
    app.add_exception_handler(Exception, handle_server_error)
    app.include_router(native.router, responses=openapi_docs.ANYWHERE)
    app.include_router(openai_api.router, responses=openapi_docs.ANYWHERE)
    app.include_router(health.router, responses=openapi_docs.ANYWHERE)
    app.include_router(page.router)
    return app


def _stop_with_supervisor() -> None:
    """Shut this worker down when the supervisor dies: uvicorn's workers would keep running, and keep the port."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    loop, sentinel = asyncio.get_running_loop(), parent.sentinel

    def shut_down() -> None:
        loop.remove_reader(sentinel)  # it stays readable: the loop would spin until the end of the drain
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(sentinel, shut_down)


def _call_before_shutdown(drain: Callable[[], None]) -> None:
    """Call `drain` on SIGTERM and SIGINT: uvicorn's own shutdown event comes after the last stream."""
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        previous = signal.getsignal(signum)
        if not callable(previous):  # no handler: a test, or another ASGI server
            continue

        def handle(number: int, frame: object, previous: Callable[..., object] = previous) -> None:
            loop.call_soon_threadsafe(drain)
            previous(number, frame)

        signal.signal(signum, handle)
