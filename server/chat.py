"""One chat: register it, relay the upstream's events, and end both sides the moment an abort or a hang-up is seen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from time import monotonic_ns
from typing import Any

from anyio import CancelScope, create_task_group
from fastapi.responses import JSONResponse, Response
from opentelemetry import trace as telemetry
from starlette.types import Receive, Scope, Send

from backends import AbortSignal, DuplicateChatError, StoreUnavailableError
from server import metrics, sse
from server.limits import PLAIN_SEND
from server.logs import LOG
from server.trace import ChatTrace
from server.upstream import UpstreamError, open_stream
from server.worker import DrainingError, TooManyChatsError, Worker

RETRY_AFTER_S = "1"
SPANS = telemetry.get_tracer("stopwatch.server")  # does nothing unless an exporter is configured


class ChatResponse(Response):
    """The streamed answer to one chat, as an ASGI application: nothing stands between it and the socket."""

    def __init__(
        self, body: dict[str, Any], *, request_id: str, owner: str, worker: Worker, as_text: bool = False
    ) -> None:
        super().__init__()
        self._body = body
        self._owner = owner
        self._worker = worker
        self._as_text = as_text
        self._trace = ChatTrace(request_id)
        self._started = False
        self._complete = False  # the upstream said [DONE]: an abort that comes now comes too late
        self._last = b""  # the last events forwarded: an abort's final chunk continues them

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, and return when the upstream is closed and the id is free again."""
        trace = self._trace
        with SPANS.start_as_current_span("chat", attributes={"request_id": trace.request_id}) as span:
            try:
                await self._chat(scope, receive, send)
            except DuplicateChatError:
                await self._refuse(409, "A chat with this request ID is live")(scope, receive, send)
            except TooManyChatsError:
                await self._refuse(429, "Too many live chats: end one, or wait")(scope, receive, send)
            except DrainingError:
                await self._refuse(503, "This worker is shutting down")(scope, receive, send)
            except StoreUnavailableError:
                await self._refuse(503, "The abort store cannot be reached")(scope, receive, send)
            finally:
                trace.ended_ns = monotonic_ns()
                span.set_attribute("finish_reason", str(trace.finish_reason))
                self._account()

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        trace, worker = self._trace, self._worker
        with worker.admitted(self._owner):
            async with worker.delivery.watch(trace.request_id, self._owner) as signal:
                trace.registered_ns = monotonic_ns()
                self._send_chunk = scope.get(PLAIN_SEND, send)
                failure = await self._relay(signal, receive, send)
            # The id is free, and whoever waits for the stop has it confirmed, before the client sees the end.
            if failure is not None:
                await self._fail(failure, scope, receive, send)
            elif trace.finish_reason == "abort":
                await self._end_aborted(send)
            elif trace.finish_reason != "disconnect":
                await self._end(send)

    def _account(self) -> None:
        """Trace, metrics and log line of a chat that is over."""
        trace = self._trace
        self._worker.tracer.write(trace)
        metrics.CHATS.labels(trace.finish_reason or "unknown").inc()
        if trace.first_byte_ns is not None:
            metrics.TTFT_S.observe((trace.first_byte_ns - trace.received_ns) / 1e9)
        if trace.signal_ns is not None and trace.upstream_closed_ns is not None:
            metrics.STOP_S.observe((trace.upstream_closed_ns - trace.signal_ns) / 1e9)
        LOG.info(
            "chat",
            extra={
                "request_id": trace.request_id,
                "finish_reason": trace.finish_reason,
                "chunks": trace.chunks,
                "took_ms": round(((trace.ended_ns or 0) - trace.received_ns) / 1e6, 3),
            },
        )

    async def _relay(self, signal: AbortSignal, receive: Receive, send: Send) -> UpstreamError | None:
        """Relay the whole answer; what went wrong upstream is returned, for a task group would wrap an exception."""
        trace = self._trace
        gone = False
        failure = None

        def stop() -> None:
            trace.signal_ns = monotonic_ns()
            reading.cancel()

        async def forward() -> None:
            nonlocal failure
            # The stop acts on the read that is waiting, not between chunks: a silent upstream is closed as fast.
            with reading:
                signal.on_abort(stop)
                try:
                    if not signal.aborted:  # an abort that came before its chat: the upstream is not even asked
                        await self._forward(signal, send)
                except UpstreamError as error:
                    failure = error
            trace.upstream_closed_ns = monotonic_ns()
            tasks.cancel_scope.cancel()

        reading = CancelScope()
        async with create_task_group() as tasks:
            # Forwarding has the task of its own, and this one watches the client: a chunk that came in this one would
            # wake it through every await of the framework above, a quarter of what a relayed chunk costs.
            tasks.start_soon(forward)
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            reading.cancel()
        if gone:
            trace.finish_reason = "disconnect"
            failure = None
        elif failure is not None:
            trace.finish_reason = "error"
        elif signal.aborted and not self._complete:
            trace.finish_reason = "abort"
        else:
            trace.finish_reason = sse.finish_reason_of(self._last)
        return failure

    async def _forward(self, signal: AbortSignal, send: Send) -> None:
        """Forward whole events until the upstream's end or the abort; returns with the upstream closed."""
        trace, as_text, poll = self._trace, self._as_text, signal.poll
        async with AsyncExitStack() as stack:
            stream = await stack.enter_async_context(self._open())
            await self._start(send)
            events = await stack.enter_async_context(aclosing(sse.whole_events(stream)))
            async for data in events:
                if poll is not None and await poll():
                    return
                if trace.first_byte_ns is None:
                    trace.first_byte_ns = monotonic_ns()
                trace.chunks += 1
                if data.endswith(sse.DONE):
                    self._complete = True
                if data != sse.DONE and sse.NO_CHOICES not in data:
                    self._last = data
                out = sse.text_of(data).encode() if as_text else data
                await self._send_chunk({"type": "http.response.body", "body": out, "more_body": True})

    def _open(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        worker = self._worker
        silence_s = worker.settings.upstream_idle_s
        return open_stream(worker.client, self._body, self._trace.request_id, silence_s=silence_s)

    async def _start(self, send: Send) -> None:
        media_type = b"text/plain; charset=utf-8" if self._as_text else b"text/event-stream; charset=utf-8"
        headers = [
            (b"content-type", media_type),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # tells nginx not to hold the stream back
            (b"x-request-id", self._trace.request_id.encode()),
        ]
        self._started = True
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _end(self, send: Send, last_events: bytes = b"") -> None:
        if not self._started:
            await self._start(send)
        body = b"" if self._as_text else last_events
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _end_aborted(self, send: Send) -> None:
        chunk = sse.abort_event(self._last, self._trace.request_id, self._body["model"], self._trace.chunks)
        await self._end(send, chunk + sse.DONE)

    async def _fail(self, error: UpstreamError, scope: Scope, receive: Receive, send: Send) -> None:
        if self._started:
            await self._end(send, sse.event({"error": error.error}, "error") + sse.DONE)
        else:
            headers = {"Retry-After": error.retry_after} if error.retry_after else None
            await JSONResponse({"error": error.error}, error.status, headers)(scope, receive, send)

    def _refuse(self, status: int, detail: str) -> Response:
        self._trace.finish_reason = f"refused_{status}"
        headers = {"Retry-After": RETRY_AFTER_S} if status in (429, 503) else None
        error = {"message": detail, "type": "refused", "code": None, "param": None}
        return JSONResponse({"detail": detail, "error": error}, status, headers)
