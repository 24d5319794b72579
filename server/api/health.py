"""What a load balancer and a Prometheus server ask: /healthz, /readyz, /metrics."""

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
    """Say that this worker is alive, and what it is; `module` and `commit` name the code it runs."""
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
@router.get("/readyz", responses={503: {"description": "an abort might not reach this worker now, or it is draining"}})
async def readyz(http: Request) -> Response:
    """Say whether an abort can reach this worker now; 503 and a `reason` if not.

    Each worker sends itself a heartbeat the way an abort goes, also when nobody chats: the store takes writes, and what
    it sends to this worker arrives.
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
    """Why the worker is not ready; a driver's own words name addresses, and are for the log only."""
    if worker.draining:
        return "shutting down"
    if isinstance(worker.delivery.last_error, DeafListenerError):
        return str(worker.delivery.last_error)
    return "the store cannot be reached, or takes no writes: see the log"


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def prometheus(_: Request) -> Response:
    """All workers' metrics in Prometheus's text format."""
    return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
