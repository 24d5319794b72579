"""Endpoints for load balancers and Prometheus: /healthz, /readyz, /metrics."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from backends import DeafListenerError
from server.ops import metrics
from server.ops.revision import revision
from server.worker import Worker, worker_of

router = APIRouter()


@router.head("/health", include_in_schema=False)
@router.get("/health", include_in_schema=False)
@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def healthz(http: Request) -> dict[str, Any]:
    """Report that this worker is alive, with its strategy; `module` and `commit` identify the running code."""
    worker = worker_of(http)
    return {
        "status": "ok",
        "pid": os.getpid(),
        "strategy": worker.strategy,
        "live": worker.delivery.live,
        "asgi": http.scope["asgi"],
        **revision()._asdict(),
    }


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses={503: {"description": "an abort might not reach this worker, or it is draining"}})
async def readyz(http: Request) -> Response:
    """Report whether an abort can reach this worker; 503 with a `reason` if not.

    Each worker sends itself a heartbeat on the path of an abort, also without chats: a write to the store and, for
    push, a message to its own listener.
    """
    worker = worker_of(http)
    delivery = worker.delivery
    ready = delivery.ready and not worker.draining
    content = {
        "ready": ready,
        "pid": os.getpid(),
        "heartbeat_age_s": round(delivery.heartbeat_age_s, 3),
        **asdict(delivery.counters),
    }
    if not ready:
        content["reason"] = _reason(worker)
    return JSONResponse(content, 200 if ready else 503)


def _reason(worker: Worker) -> str:
    """Return why the worker is not ready; a driver's own message names addresses, so it is only logged."""
    if worker.draining:
        return "shutting down"
    if isinstance(worker.delivery.last_error, DeafListenerError):
        return str(worker.delivery.last_error)
    return "the store cannot be reached or rejects writes: see the log"


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def prometheus(_: Request) -> Response:
    """Return all workers' metrics in Prometheus's text format."""
    return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
