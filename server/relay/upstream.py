"""Requests to the upstream, any OpenAI-compatible server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from anyio import CancelScope
from openai import AsyncOpenAI, AsyncStream

from server.relay.byte_stream import ByteStream, IdleTimeout
from server.relay.chunks import error_of_payload
from server.relay.connections import DeferredConnection, using
from server.relay.upstream_client import CONNECT_S
from server.relay.upstream_errors import NOT_A_STREAM, TIMED_OUT, UpstreamError, converted_errors, reported_error

NON_STREAM_TYPES = ("application/json", "text/html")
"""Content types of a 200 that is not a stream, whatever was requested."""
MAX_ERROR_BYTES = 64 * 1024
"""How much of an answer that is not a stream is read to find the upstream's error."""


async def request_completion(
    client: AsyncOpenAI, body: dict[str, Any], request_id: str, *, idle_timeout_s: float, connection: DeferredConnection
) -> bytes:
    """Return the upstream's JSON answer to a chat that is not streamed. Raises `UpstreamError`."""
    with converted_errors():
        async with using(connection, client):
            response = await client.post(
                "/chat/completions",
                body=body,
                cast_to=httpx2.Response,
                options={
                    "headers": {"X-Request-Id": request_id},
                    "timeout": httpx2.Timeout(idle_timeout_s, connect=CONNECT_S),
                },
            )
        return response.content


async def list_models(client: AsyncOpenAI) -> bytes:
    """Return the upstream's list of models as JSON. Raises `UpstreamError`."""
    with converted_errors():
        response = await client.models.with_raw_response.list(timeout=CONNECT_S)
        return response.content


async def get_model(client: AsyncOpenAI, name: str) -> bytes:
    """Return the upstream's JSON about one model. Raises `UpstreamError`, and ValueError for a name like `..`."""
    with converted_errors():
        response = await client.models.with_raw_response.retrieve(name, timeout=CONNECT_S)
        return response.content


@asynccontextmanager
async def open_stream(
    client: AsyncOpenAI, body: dict[str, Any], request_id: str, *, idle_timeout_s: float, connection: DeferredConnection
) -> AsyncIterator[ByteStream]:
    """Stream a chat completion over `connection`; the block starts when the upstream has answered 200.

    At its end the connection is closed, or returned to the pool if the body has ended. Unknown parameters in `body` are
    passed on. Raises `UpstreamError`: on entry, while iterating, and on exit after `idle_timeout_s` of silence.
    """
    with CancelScope() as scope, IdleTimeout(idle_timeout_s, scope.cancel, connection) as idle:
        with converted_errors():
            async with using(connection, client):
                # Not `chat.completions.create`: it walks through the whole body for types that only Python callers
                # pass, which takes as long as the rest of the request.
                stream = await idle.timed(
                    client.post(
                        "/chat/completions",
                        body=body | {"stream": True},
                        cast_to=object,
                        stream=True,
                        stream_cls=AsyncStream[object],
                        options={"headers": {"X-Request-Id": request_id}},
                    )
                )
        try:
            body_bytes = ByteStream(stream.response, idle)
            if (kind := stream.response.headers.get("Content-Type", "")).startswith(NON_STREAM_TYPES):
                raise await _not_a_stream(body_bytes, kind)
            yield body_bytes
        finally:
            with CancelScope(shield=True):  # the upstream's connection is closed before anything else
                await stream.close()
    if scope.cancelled_caught:
        raise UpstreamError(504, TIMED_OUT)


async def _not_a_stream(body_bytes: ByteStream, kind: str) -> UpstreamError:
    """Read an answer with status 200 that is not a stream, and return its error."""
    answer = bytearray()
    while kind.startswith("application/json") and len(answer) < MAX_ERROR_BYTES:
        if not (data := await anext(body_bytes, b"")):
            break
        answer += data
    try:
        error = error_of_payload(json.loads(answer))
    except (ValueError, RecursionError, AttributeError):  # not JSON, or not an object
        error = None
    return reported_error(error) if error else UpstreamError(502, NOT_A_STREAM)
