"""One worker's application: its life and its routes."""

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

from server.api import answers, health, native, openai_api, page
from server.api.abort import DirectAborts
from server.http import protocol
from server.http.cors import Outermost
from server.http.hosts import Hosts
from server.http.limits import Gate
from server.http.refusals import refuse, refuse_fault, refuse_invalid
from server.http.security import Keys
from server.ops import metrics
from server.ops.logs import start_logging
from server.ops.revision import revision
from server.ops.trace import Tracer
from server.ops.vitals import vital_signs
from server.process import descriptors
from server.process.starting import reported
from server.relay.upstream import make_client
from server.settings import Settings
from server.strategy import open_delivery
from server.worker import Worker


class _Service(FastAPI):
    """FastAPI inside what has to be outside of all of its layers, so that answers to its faults pass it, too."""

    def __init__(self, cors_origins: str, **more: Any) -> None:
        super().__init__(**more)
        self._cors_origins = cors_origins

    def build_middleware_stack(self) -> ASGIApp:
        """Put our outermost layer around FastAPI's."""
        return Outermost(super().build_middleware_stack(), self._cors_origins)


def create_app(settings: Settings | None = None) -> FastAPI:
    """One worker's application; the settings come from the environment unless given."""
    settings = settings or Settings()
    keys, hosts = Keys(settings), Hosts(settings)
    settings = settings.without_keys()  # what lives as long as the worker holds their hashes only

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, float]]:
        start_logging(settings.log_level)
        tracer = Tracer(settings.trace_dir)
        async with (
            open_delivery(settings) as delivery,
            make_client(settings) as client,
            vital_signs(tracer, metrics.Sampler(delivery)),
        ):
            app.state.worker = worker = Worker(settings, delivery, client, tracer)
            revision()  # looked up now, and not in the first request
            _end_with_the_supervisor()
            _before_shutdown(worker.drain)
            worker.most_chats = descriptors.budget(descriptors.open_files()).chats
            gc.collect()
            gc.freeze()  # what is here now stays: a full collection would go through all of it, 50 ms each time
            yield {protocol.DEADLINE_S: settings.request_deadline_s}
        tracer.close()
        metrics.leave()

    app = _Service(
        settings.cors_origins,
        title="Chat with an honest Stop",
        summary="Start a chat under a request_id, and stop it from anywhere.",
        lifespan=reported(lifespan),
        separate_input_output_schemas=False,
    )
    app.state.keys = keys
    app.add_middleware(DirectAborts)  # inside the gate
    app.add_middleware(Gate, settings=settings, keys=keys, hosts=hosts)
    app.add_exception_handler(HTTPException, refuse)
    app.add_exception_handler(RequestValidationError, refuse_invalid)
    app.add_exception_handler(Exception, refuse_fault)
    app.include_router(native.router, responses=answers.ANYWHERE)
    app.include_router(openai_api.router, responses=answers.ANYWHERE)
    app.include_router(health.router, responses=answers.ANYWHERE)
    app.include_router(page.router)
    return app


def _end_with_the_supervisor() -> None:
    """Shut this worker down when the supervisor dies: uvicorn's workers would live on, holding the port."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    loop, sentinel = asyncio.get_running_loop(), parent.sentinel

    def end() -> None:
        loop.remove_reader(sentinel)  # it stays readable: the loop would do nothing else until the drain has ended
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(sentinel, end)


def _before_shutdown(drain: Callable[[], None]) -> None:
    """Have `drain` called when uvicorn is told to end: its own shutdown event comes only after the last stream."""
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        served = signal.getsignal(signum)
        if not callable(served):  # nobody serves signals here: a test, or somebody else's server
            continue

        def handle(number: int, frame: object, served: Callable[..., object] = served) -> None:
            loop.call_soon_threadsafe(drain)
            served(number, frame)

        signal.signal(signum, handle)
