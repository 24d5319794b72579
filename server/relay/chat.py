"""One chat: register it, relay the upstream's events, and end both sides at once on an abort or a disconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from time import monotonic_ns
from typing import Any

from anyio import CancelScope, create_task_group, move_on_after, sleep_forever
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from backends import AbortSignal, BackendError, DuplicateChatError, StoreUnavailableError
from server import sse
from server.http.chat_ids import id_headers, new_id
from server.http.errors import error_response
from server.ops.metrics import SERVICE_REASONS
from server.ops.spans import SPANS
from server.ops.trace import ChatTrace
from server.relay.byte_stream import ByteStream
from server.relay.chunks import abort_events
from server.relay.connections import DeferredConnection
from server.relay.relay import Poll, Relay
from server.relay.reply import FINAL_SEND_S, Reply
from server.relay.silence import SilenceMonitor
from server.relay.upstream import open_stream
from server.relay.upstream_errors import SHUTTING_DOWN, AnswerError
from server.worker import AdmissionError, Worker


class ChatResponse(Response):
    """The streamed answer to one chat, as an ASGI application without framework layers."""

    def __init__(
        self,
        body: dict[str, Any],
        *,
        request_id: str,
        owner: str,
        worker: Worker,
        as_text: bool = False,
        id_is_replaceable: bool = False,
        abort_reason: str = "abort",
    ) -> None:
        super().__init__()
        settings = worker.settings
        self._abort_reason = abort_reason  # finish_reason sent for an aborted chat
        self._body = body
        self._owner = owner
        self._worker = worker
        self._trace = ChatTrace(request_id)
        self._id_is_replaceable = id_is_replaceable  # replaced if a live chat has it
        self._reply = Reply(request_id, as_text=as_text)
        self._relay = Relay(self._trace, self._reply, max_event_bytes=settings.max_event_bytes)
        self._silence = SilenceMonitor(
            self._relay,
            self._reply,
            self._trace,
            grace_s=settings.headers_grace_s,
            comment_s=settings.keepalive_comment_s,
        )
        self._connection = DeferredConnection()
        self._poll: Poll | None = None
        self._relay_scope = CancelScope()
        self._watch_scope = CancelScope()
        self._failure: Exception | None = None
        self._abort_recorded = False  # whether the store held an abort when the id was released
        self._stop_reason: str | None = None  # set when the chat is stopped from outside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request; returns when the upstream is closed and the id is free."""
        trace = self._trace
        attributes = {"request_id": trace.request_id}
        with SPANS.start_as_current_span(
            "chat", attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                await self._chat(scope, receive, send)
            except DuplicateChatError:
                await self._refuse(409, "A chat with this request ID is live")(scope, receive, send)
            except AdmissionError as error:
                await self._refuse(error.status, error.detail, **error.headers)(scope, receive, send)
            except StoreUnavailableError:
                await self._refuse(503, "The abort store cannot be reached")(scope, receive, send)
            finally:
                trace.ended_ns = monotonic_ns()
                span.set_attribute("request_id", trace.request_id)
                span.set_attribute("finish_reason", str(trace.finish_reason))
                self._worker.record_end(trace, abort_recorded=self._abort_recorded)

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        worker, refused = self._worker, None
        with worker.admit(self._owner):
            self._reply.attach(scope, receive, send)
            async with create_task_group() as tasks:
                # The relay runs in its own task, this one waits for the client's disconnect: a chunk received in this
                # task would resume every await of the framework above it, a quarter of a chunk's CPU time.
                tasks.start_soon(self._relay_all)
                try:
                    # Meanwhile the relay connects to the upstream; its request is sent after the registration.
                    replaceable = self._id_is_replaceable
                    async with self._register_with_fallback_id() if replaceable else self._register() as signal:
                        await self._watch(signal, receive)
                    self._abort_recorded = signal.recorded
                except BackendError as error:  # the task group would wrap it
                    refused = error
                    self._stop("refused")
            if refused is not None:
                raise refused
            # The id is released, and a waiting abort confirmed, before the client receives the end.
            with move_on_after(FINAL_SEND_S) as limit:
                await self._finish()
            if limit.cancelled_caught:
                self._reply.abort_connection(0.0)

    def _register(self) -> AbstractAsyncContextManager[AbortSignal]:
        return self._worker.delivery.watch(self._trace.request_id, self._owner)

    @asynccontextmanager
    async def _register_with_fallback_id(self) -> AsyncIterator[AbortSignal]:
        """Register under the given id, or under a new one if a live chat has it."""
        async with AsyncExitStack() as stack:
            try:
                signal = await stack.enter_async_context(self._register())
            except DuplicateChatError:
                self._trace.request_id = self._reply.request_id = new_id()
                signal = await stack.enter_async_context(self._register())
            yield signal

    async def _finish(self) -> None:
        reason = self._trace.finish_reason
        if self._relay.error_sent and reason == "error" and not self._reply.as_text:
            await self._reply.end(b"" if self._relay.complete else sse.DONE)
        elif isinstance(self._failure, AnswerError):
            await self._reply.fail(self._failure)
        elif self._failure is not None:
            raise self._failure
        elif reason == "abort":
            await self._end_aborted()
        elif reason == "shutdown":
            await self._reply.fail(SHUTTING_DOWN)
        elif reason != "disconnect":
            await self._end()

    async def _relay_all(self) -> None:
        """Relay the answer; a failure is stored, because raising it would cancel the release of the id."""
        trace = self._trace
        await asyncio.sleep(0)  # send the registration first: preparing the request takes longer
        with self._relay_scope:  # cancels the waiting read: a silent upstream is closed as fast as one that streams
            try:
                if self._id_is_replaceable:  # the request contains the id, which the registration may replace
                    await self._connection.wait_released()
                await self._forward()
            except Exception as error:
                if self._stop_reason is None:  # else the error is the connection that `_stop` aborted
                    self._failure = error
        if trace.registered_ns is not None:
            trace.upstream_closed_ns = monotonic_ns()
        self._watch_scope.cancel()

    async def _watch(self, signal: AbortSignal, receive: Receive) -> None:
        """Release the request; stop the relay on an abort or a disconnect; return when the relay has ended."""
        trace = self._trace

        def aborted() -> None:
            if not self._worker.drained:
                trace.signal_ns = monotonic_ns()
            self._stop("shutdown" if self._worker.drained else "abort")

        trace.registered_ns = monotonic_ns()
        self._poll = signal.poll
        signal.on_abort(aborted)
        early = signal.aborted  # the abort came before its chat: the request is never sent
        if not early:
            self._connection.release()
            self._start_helpers()
        try:
            with self._watch_scope:
                while (await receive())["type"] != "http.disconnect":
                    pass
                self._stop("disconnect")
                await sleep_forever()
        finally:
            await self._stop_helpers()
        trace.finish_reason = self._reason(early=early)
        if trace.finish_reason != "error":
            self._failure = None

    def _reason(self, *, early: bool) -> str | None:
        if self._failure is not None and self._stop_reason != "disconnect" and not early:
            return "error"
        if self._stop_reason is not None and not self._relay.complete:
            return self._stop_reason
        reason = self._upstream_finish_reason()
        return "other" if reason in SERVICE_REASONS - {"error"} else reason

    def _stop(self, reason: str) -> None:
        if self._stop_reason is None or reason == "disconnect":
            self._stop_reason = reason
        self._connection.abort()  # now: the relay's cancellation takes effect in a later iteration of the loop
        if reason == "abort":
            self._worker.low_priority.add(self._end_relay)
        else:
            self._end_relay()

    def _end_relay(self) -> None:
        self._connection.close()
        self._relay_scope.cancel()

    def _upstream_finish_reason(self) -> str | None:
        return self._relay.finish_reason()

    def _start_helpers(self) -> None:
        """Start the tasks that run beside the relay; the chat is registered."""
        n = self._body.get("n")
        self._silence.start(several=isinstance(n, int) and n > 1)

    async def _stop_helpers(self) -> None:
        """Stop the tasks that run beside the relay, which has ended."""
        await self._silence.stop()

    async def _forward(self) -> None:
        """Forward events until the answer ends or is aborted; returns with the upstream closed."""
        async with self._open() as stream:
            await self._relay.run(stream, self._poll)

    def _open(self) -> AbstractAsyncContextManager[ByteStream]:
        client, idle_s = self._worker.client, self._worker.settings.upstream_idle_s
        request_id, connection = self._trace.request_id, self._connection
        return open_stream(client, self._body, request_id, idle_timeout_s=idle_s, connection=connection)

    async def _end(self) -> None:
        await self._reply.end()

    async def _end_aborted(self) -> None:
        events = abort_events(
            self._relay.last,
            self._body,
            self._trace.request_id,
            reason=self._abort_reason,
            delivered=self._trace.chunks,
            text_chunks=self._relay.text_chunks,
        )
        await self._reply.end(events + sse.DONE)

    def _refuse(self, status: int, detail: str, **headers: str) -> Response:
        self._trace.finish_reason = f"refused_{status}"
        return error_response(status, detail, id_headers(self._trace.request_id) | headers)
