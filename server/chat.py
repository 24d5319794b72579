"""One chat: register it, relay the upstream's events, and end both sides the moment an abort or a hang-up is seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from time import monotonic_ns
from typing import Any

from anyio import CancelScope, create_task_group, move_on_after, sleep_forever
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from backends import AbortSignal, BackendError, DuplicateChatError, StoreUnavailableError
from server import sse
from server.connections import Line
from server.failures import BROKEN_OFF, TYPE, UpstreamError
from server.limits import HANG_UP, PLAIN_SEND
from server.refusals import refusal
from server.spans import SPANS
from server.trace import ChatTrace
from server.upstream import open_stream
from server.worker import DrainingError, TooManyChatsError, Worker

FINAL_SEND_S = 2.0
"""How long a client that does not read may hold up the end of its chat."""


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
        self._line = Line()  # to the upstream
        self._poll: Callable[[], Awaitable[bool]] | None = None
        self._relaying = CancelScope()
        self._watching = CancelScope()
        self._failure: Exception | None = None
        self._stopped = False
        self._started = False
        self._complete = False  # the upstream said [DONE]: an abort that comes now comes too late
        self._last = b""  # the last events forwarded: an abort's final chunk continues them

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, and return when the upstream is closed and the id is free again."""
        trace = self._trace
        named = {"request_id": trace.request_id}
        with SPANS.start_as_current_span(
            "chat", attributes=named, record_exception=False, set_status_on_exception=False
        ) as span:
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
                self._worker.account(trace)

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        worker, refusal = self._worker, None
        with worker.admitted(self._owner):
            self._send_chunk = scope.get(PLAIN_SEND, send)
            async with create_task_group() as tasks:
                # Relaying has the task of its own, and this one watches the client: a chunk that came in this one would
                # wake it through every await of the framework above, a quarter of what a relayed chunk costs.
                tasks.start_soon(self._relay, send)
                try:
                    # Meanwhile the relay makes ready to ask; it may ask when the chat is registered.
                    async with worker.delivery.watch(self._trace.request_id, self._owner) as signal:
                        await self._watch(signal, receive)
                except BackendError as error:  # the task group would wrap it
                    refusal = error
                    self._stop()
            if refusal is not None:
                raise refusal
            # The id is free, and whoever waits for the stop has it confirmed, before the client sees the end.
            with move_on_after(FINAL_SEND_S) as patience:
                await self._finish(scope, receive, send)
            if patience.cancelled_caught:
                _hang_up(scope, 0.0)

    async def _finish(self, scope: Scope, receive: Receive, send: Send) -> None:
        if isinstance(self._failure, UpstreamError):
            await self._fail(self._failure, scope, receive, send)
        elif self._failure is not None:
            raise self._failure
        elif self._trace.finish_reason == "abort":
            await self._end_aborted(send)
        elif self._trace.finish_reason != "disconnect":
            await self._end(send)

    async def _relay(self, send: Send) -> None:
        """Relay the whole answer. What goes wrong is kept: raised, it would cancel what the id still needs."""
        trace = self._trace
        await asyncio.sleep(0)  # the registration goes out first: to make a request ready takes longer
        # The stop acts on the read that is waiting, not between chunks: a silent upstream is closed as fast.
        with self._relaying:
            try:
                await self._forward(send)
            except (sse.EventTooLargeError, sse.MalformedEventError) as error:
                self._failure = UpstreamError(502, {"message": str(error), "type": TYPE})
            except Exception as error:
                if not self._stopped:  # else it is the cut that the relay has met
                    self._failure = error
        if trace.registered_ns is not None:
            trace.upstream_closed_ns = monotonic_ns()
        self._watching.cancel()

    async def _watch(self, signal: AbortSignal, receive: Receive) -> None:
        """Let the relay ask, end it when the chat is aborted or the client leaves; returns when it has ended."""
        trace = self._trace
        gone = False

        def aborted() -> None:
            trace.signal_ns = monotonic_ns()
            self._stop()

        trace.registered_ns = monotonic_ns()
        self._poll = signal.poll
        signal.on_abort(aborted)
        early = signal.aborted  # an abort that came before its chat: the upstream is not even asked
        if not early:
            self._line.allow()
        with self._watching:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            self._stop()
            await sleep_forever()
        if gone:
            trace.finish_reason = "disconnect"
        elif self._failure is not None and not early:
            trace.finish_reason = "error"
        elif signal.aborted and not self._complete:
            trace.finish_reason = "abort"
        else:
            trace.finish_reason = self._natural_end()
        if trace.finish_reason != "error":
            self._failure = None

    def _stop(self) -> None:
        self._stopped = True
        self._line.cut()  # now, and not when the relay has noticed
        self._relaying.cancel()

    def _natural_end(self) -> str | None:
        return sse.finish_reason_of(self._last)

    async def _forward(self, send: Send) -> None:
        """Forward whole events until the upstream's end or the abort; returns with the upstream closed."""
        trace, as_text = self._trace, self._as_text
        async with AsyncExitStack() as stack:
            stream = await stack.enter_async_context(self._open())
            await self._start(send)
            poll = self._poll
            events = await stack.enter_async_context(aclosing(sse.whole_events(stream)))
            async for data in events:
                if poll is not None and await poll():
                    return
                if trace.first_byte_ns is None:
                    trace.first_byte_ns = monotonic_ns()
                if sse.DELTA in data or sse.REASON in data:
                    self._last = data
                out = sse.text_of(data).encode() if as_text else data
                await self._send_chunk({"type": "http.response.body", "body": out, "more_body": True})
                trace.chunks += sse.chunks_in(data)
                if data.endswith(sse.DONE_ENDS):
                    self._complete = True
                    trace.chunks -= 1
            if not self._complete:
                await self._complete_it()

    async def _complete_it(self) -> None:
        """The upstream has ended without [DONE]: some never say it, others have crashed."""
        if self._natural_end() is None:
            raise UpstreamError(502, BROKEN_OFF)
        if not self._as_text:
            await self._send_chunk({"type": "http.response.body", "body": sse.DONE, "more_body": True})
        self._complete = True

    def _open(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        worker = self._worker
        silence_s = worker.settings.upstream_idle_s
        return open_stream(worker.client, self._body, self._trace.request_id, silence_s=silence_s, line=self._line)

    async def _start(self, send: Send) -> None:
        media_type = b"text/plain; charset=utf-8" if self._as_text else b"text/event-stream; charset=utf-8"
        headers = [
            (b"content-type", media_type),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # tells nginx not to hold the stream back
            (b"x-request-id", self._trace.request_id.encode()),
            (b"x-worker", self._worker.name.encode()),
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
        if self._started and self._as_text:
            _hang_up(scope, FINAL_SEND_S)  # a text has no other way to say that it is not complete
        elif self._started:
            await self._end(send, sse.event({"error": error.error}, "error") + sse.DONE)
        else:
            await error.response()(scope, receive, send)

    def _refuse(self, status: int, detail: str) -> Response:
        self._trace.finish_reason = f"refused_{status}"
        return refusal(status, detail)


def _hang_up(scope: Scope, patience_s: float) -> None:
    """Break the connection off; a server that is not ours does it itself, because the answer was not completed."""
    if (hang_up := scope.get(HANG_UP)) is not None:
        hang_up(patience_s)
