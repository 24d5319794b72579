"""What a load balancer and a Prometheus server ask: /healthz, /readyz, /metrics."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from server import metrics
from server.worker import worker_of

router = APIRouter()


@router.get("/healthz")
async def healthz(http: Request) -> dict[str, Any]:
    """Say that this worker is alive, and what it is."""
    worker = worker_of(http)
    return {
        "status": "ok",
        "pid": os.getpid(),
        "strategy": worker.strategy,
        "live": worker.delivery.live,
        "asgi": http.scope["asgi"],
    }


@router.get("/readyz", responses={503: {"description": "an abort might not reach this worker now, or it is draining"}})
async def readyz(http: Request) -> Response:
    """Say whether an abort can reach this worker now: store reachable, listener up; 503 if not."""
    worker = worker_of(http)
    ready = worker.delivery.ready and not worker.draining
    content = {"ready": ready, "pid": os.getpid(), **asdict(worker.delivery.counters)}
    return JSONResponse(content, 200 if ready else 503)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def prometheus(_: Request) -> Response:
    """All workers' metrics in Prometheus's text format."""
    return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
