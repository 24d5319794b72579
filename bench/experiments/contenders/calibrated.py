"""A relay in one process with known faults: its stop is late by exactly 10 ms, or lost once in a hundred.

A benchmark that does not recover these figures is invalid. A request id names its arm by its first word that is one,
as in `5f3a-calibration-delay-0-17`:

- `instant`: the abort closes the upstream at once. So does an id without an arm (a warm-up).
- `delay`: the upstream is closed exactly 10 ms after the abort was received.
- `late`: the upstream is closed 0.2 ms later than with `instant`.
- `drop`: every 100th abort of this arm is accepted and ignored; the others are `instant`. The process counts them:
  start one for a run, or send a multiple of 100 drops each time.

POST /chat/ and POST /abort/ answer as our service does; with TRACE_DIR the stamps are written in its format.
Upstream: OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import asyncio
import gc
import itertools
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from time import monotonic_ns
from typing import Any

import aiohttp
import uvloop
from aiohttp import web

from bench.record.base import encode_line
from bench.record.traces import AbortTrace, ChatTrace

ARMS = ("instant", "delay", "late", "drop")
DELAY_MS, LATE_US, DROP_EVERY = 10, 200, 100
SPIN_MS = 2  # timers are up to 0.8 ms late here and uvloop ticks in whole milliseconds: the rest is a busy wait


class Chat:
    """One live chat and its upstream; it is stopped once its trace has a `signal_ns`."""

    def __init__(self, request_id: str) -> None:
        self.trace = ChatTrace(request_id=request_id, pid=os.getpid(), received_ns=monotonic_ns())
        self.arm = next((word for word in request_id.split("-") if word in ARMS), "instant")
        self.aborted = False  # an abort was accepted
        self._upstream: aiohttp.ClientResponse | None = None

    def opened(self, upstream: aiohttp.ClientResponse) -> None:
        """Attach the upstream; it is closed again when the chat is already stopped."""
        self._upstream = upstream
        if self.trace.signal_ns:
            self._close()

    def stop(self, due_ns: int = 0) -> None:
        """Close the upstream once the clock has reached `due_ns`, in a busy wait."""
        while monotonic_ns() < due_ns:
            pass
        self.trace.signal_ns = monotonic_ns()
        self._close()

    def _close(self) -> None:
        """Shut the socket down now: uvloop's close waits for the loop's next turn, 0.2 ms later in one arm."""
        if self._upstream is None:
            return
        if self._upstream.connection is not None and (transport := self._upstream.connection.transport) is not None:
            with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as sock:
                sock.shutdown(socket.SHUT_RDWR)
        self.trace.upstream_closed_ns = monotonic_ns()
        self._upstream.close()


class Relay:
    """The two routes, and the live chats."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._chats: dict[str, Chat] = {}
        self._drops = itertools.count(1)
        self._traces = None
        if folder := os.environ.get("TRACE_DIR"):
            file = Path(folder, f"{os.getpid()}.jsonl")
            file.parent.mkdir(parents=True, exist_ok=True)
            self._traces = file.open("ab", buffering=0)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Relay the answer's events, and mark the end of an aborted one."""
        body = await _object(request)
        if body is None:
            return _refusal(422, "The body is no JSON object")
        request_id = str(body.pop("request_id", None) or secrets.token_hex(8))
        if request_id in self._chats:
            return _refusal(409, "A chat with this request ID is live")
        chat = self._chats[request_id] = Chat(request_id)
        chat.trace.registered_ns = monotonic_ns()
        try:
            return await self._relay(request, body | {"stream": True}, chat)
        finally:
            del self._chats[request_id]
            chat.trace.ended_ns = monotonic_ns()
            self._write(chat.trace)

    async def _relay(self, request: web.Request, body: dict[str, Any], chat: Chat) -> web.StreamResponse:
        trace, headers = chat.trace, {"X-Request-Id": chat.trace.request_id}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", **headers})
        async with self._session.post(completions(), json=body, headers=headers) as upstream:
            if upstream.status != 200:
                return _refusal(502, f"The upstream answered {upstream.status}")
            chat.opened(upstream)
            await response.prepare(request)
            rest, trace.chunks = b"", 0
            try:
                async for data in upstream.content.iter_any():
                    trace.first_byte_ns = trace.first_byte_ns or monotonic_ns()
                    events, end, rest = (rest + data).rpartition(b"\n\n")
                    trace.chunks += 1
                    await response.write(events + end)
            except aiohttp.ClientError:
                if not trace.signal_ns:
                    raise
        trace.finish_reason = "abort" if trace.signal_ns else "stop"
        await response.write_eof(_abort_events(trace.request_id, str(body.get("model"))) if trace.signal_ns else b"")
        return response

    async def abort(self, request: web.Request) -> web.Response:
        """Abort as the chat's arm demands; the response is the same for all arms."""
        body = await _object(request)
        received_ns = monotonic_ns()  # all arms do the same from here on
        if body is None or "request_id" not in body:
            return _refusal(422, "The body names no request_id")
        request_id = str(body["request_id"])
        chat = self._chats.get(request_id)
        if chat is None:
            return _refusal(404, "Request ID not found")
        outcome = "already_aborted" if chat.aborted else "accepted"
        if not chat.aborted:
            chat.aborted = True
            if chat.arm == "delay":
                due_ns = received_ns + DELAY_MS * 1_000_000
                asyncio.get_running_loop().call_later((DELAY_MS - SPIN_MS) / 1e3, chat.stop, due_ns)
            elif chat.arm == "late":
                chat.stop(monotonic_ns() + LATE_US * 1_000)
            elif chat.arm != "drop" or next(self._drops) % DROP_EVERY:
                chat.stop()
        trace = AbortTrace(request_id=request_id, pid=os.getpid(), received_ns=received_ns, outcome=outcome)
        trace.recorded_ns = monotonic_ns()
        self._write(trace)
        message = f"Streaming for request {request_id} will be aborted."
        return web.json_response({"message": message, "request_id": request_id, "status": outcome})

    def _write(self, trace: ChatTrace | AbortTrace) -> None:
        if self._traces is not None:
            self._traces.write(encode_line(trace))


def _abort_events(request_id: str, model: str) -> bytes:
    """The last chunk of an aborted answer, and the end mark."""
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "abort"}
    chunk = {"id": f"chatcmpl-{request_id}", "object": "chat.completion.chunk", "created": int(time.time())}
    return f"data: {json.dumps({**chunk, 'model': model, 'choices': [choice]})}\n\ndata: [DONE]\n\n".encode()


async def _object(request: web.Request) -> dict[str, Any] | None:
    try:
        body = await request.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _refusal(status: int, detail: str) -> web.Response:
    return web.json_response({"detail": detail}, status=status)


def upstream_session() -> aiohttp.ClientSession:
    """A client of the upstream, without a limit of connections."""
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers)


def completions() -> str:
    """The upstream's address for chats."""
    return f"{os.environ['OPENAI_BASE_URL']}/chat/completions"


async def serve(routes: Iterable[web.RouteDef]) -> None:
    """Serve the routes on a free port of HOST, print `ready URL`, and run until cancelled."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, os.environ.get("HOST", "127.0.0.1"), 0, backlog=2048).start()
    host, port = runner.addresses[0][:2]
    sys.stdout.write(f"ready http://{host}:{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


async def _main() -> None:
    async with upstream_session() as session:
        relay = Relay(session)
        gc.collect()
        gc.freeze()  # the objects of the start are not scanned again: a long pause would add to the delay
        await serve([web.post("/chat/", relay.chat), web.post("/abort/", relay.abort)])


if __name__ == "__main__":
    uvloop.run(_main())
