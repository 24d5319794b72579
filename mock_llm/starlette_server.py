"""The comparison server of `capacity`: Starlette's StreamingResponse with one json.dumps per chunk.

Started as `python -m mock_llm.starlette_server`; supports only the three pacing headers.
"""

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from mock_llm.serve import allow_many_sockets


async def _events(start_s: float, itl_ms: float, tokens: int) -> AsyncIterator[str]:
    for position in range(tokens):
        # Absolute deadlines, as in the mock: sleep(itl) would drift and make the comparison unfair.
        await asyncio.sleep(max(0.0, start_s + position * itl_ms / 1e3 - time.monotonic()))
        chunk = {
            "id": "chatcmpl-plain",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "plain",
            "service_tier": "default",
            "system_fingerprint": "fp_plain",
            "choices": [{"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}],
        }
        yield f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"


async def _chat(request: Request) -> StreamingResponse:
    received_ns = time.monotonic_ns()
    await request.json()
    headers = request.headers
    start_s = received_ns / 1e9 + float(headers["x-mock-ttft-ms"]) / 1e3
    events = _events(start_s, float(headers["x-mock-itl-ms"]), int(headers["x-mock-output-tokens"]))
    own = {"x-mock-received-ns": str(received_ns)}
    return StreamingResponse(events, media_type="text/event-stream", headers=own)


async def _clock(_request: Request) -> JSONResponse:
    return JSONResponse({"monotonic_ns": time.monotonic_ns(), "cpu_ns": time.process_time_ns()})


def main() -> None:
    """Serve on a free loopback port until SIGTERM; prints `ready http://127.0.0.1:PORT`."""
    allow_many_sockets()
    routes = [Route("/v1/chat/completions", _chat, methods=["POST"]), Route("/__mock/clock", _clock)]
    config = uvicorn.Config(Starlette(routes=routes), log_level="error", access_log=False, timeout_graceful_shutdown=1)
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        sys.stdout.write(f"ready http://127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
