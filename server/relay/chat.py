"""One chat: register it, relay the upstream's events, and end both sides the moment an abort or a hang-up is seen."""

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
from server.http.chat_ids import fresh_id, id_headers
from server.http.refusals import refusal
from server.ops.metrics import OWN_REASONS
from server.ops.spans import SPANS
from server.ops.trace import ChatTrace
from server.relay.chunks import abort_events
from server.relay.connections import Line
from server.relay.failures import SHUTTING_DOWN, AnswerError
from server.relay.quiet import Quiet
from server.relay.relay import Poll, Relay
from server.relay.reply import FINAL_SEND_S, Reply
from server.relay.upstream import ByteStream, open_stream
from server.worker import DrainingError, OpenFilesError, TooManyChatsError, Worker


class ChatResponse(Response):
    """The streamed answer to one chat, as an ASGI application: nothing stands between it and the socket."""

    def __init__(
        self,
        body: dict[str, Any],
        *,
        request_id: str,
        owner: str,
        worker: Worker,
        as_text: bool = False,
        id_is_optional: bool = False,
        abort_reason: str = "abort",
    ) -> None:
        super().__init__()
        settings = worker.settings
        self._abort_reason = abort_reason  # the finish_reason that the client of an aborted chat gets
        self._body = body
        self._owner = owner
        self._worker = worker
        self._trace = ChatTrace(request_id)
        self._id_is_optional = id_is_optional  # if a live chat has it, a fresh one is taken
        self._reply = Reply(request_id, as_text=as_text)
        self._relay = Relay(self._trace, self._reply, max_event_bytes=settings.max_event_bytes)
        self._quiet = Quiet(
            self._relay,
            self._reply,
            self._trace,
            grace_s=settings.headers_grace_s,
            comment_s=settings.keepalive_comment_s,
        )
        self._line = Line()  # to the upstream
        self._poll: Poll | None = None
        self._relaying = CancelScope()
        self._watching = CancelScope()
        self._failure: Exception | None = None
        self._stop_reason: str | None = None  # set as soon as the chat is stopped from outside

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
            except OpenFilesError as error:
                await self._refuse(503, str(error), Connection="close")(scope, receive, send)
            except DrainingError:
                await self._refuse(503, "This worker is shutting down")(scope, receive, send)
            except StoreUnavailableError:
                await self._refuse(503, "The abort store cannot be reached")(scope, receive, send)
            finally:
                trace.ended_ns = monotonic_ns()
                span.set_attribute("request_id", trace.request_id)
                span.set_attribute("finish_reason", str(trace.finish_reason))
                self._worker.account(trace)

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        worker, refused = self._worker, None
        with worker.admitted(self._owner):
            self._reply.attach(scope, receive, send)
            async with create_task_group() as tasks:
                # Relaying has the task of its own, and this one watches the client: a chunk that came in this one would
                # wake it through every await of the framework above, a quarter of what a relayed chunk costs.
                tasks.start_soon(self._relay_all)
                try:
                    # Meanwhile the relay makes ready to ask; it may ask when the chat is registered.
                    optional = self._id_is_optional
                    async with self._registration_under_any_id() if optional else self._registration() as signal:
                        await self._watch(signal, receive)
                except BackendError as error:  # the task group would wrap it
                    refused = error
                    self._stop("refused")
            if refused is not None:
                raise refused
            # The id is free, and whoever waits for the stop has it confirmed, before the client sees the end.
            with move_on_after(FINAL_SEND_S) as limit:
                await self._finish()
            if limit.cancelled_caught:
                self._reply.hang_up(0.0)

    def _registration(self) -> AbstractAsyncContextManager[AbortSignal]:
        return self._worker.delivery.watch(self._trace.request_id, self._owner)

    @asynccontextmanager
    async def _registration_under_any_id(self) -> AsyncIterator[AbortSignal]:
        """Register under the optional id, or under a fresh one if a live chat has that."""
        async with AsyncExitStack() as stack:
            try:
                signal = await stack.enter_async_context(self._registration())
            except DuplicateChatError:
                self._trace.request_id = self._reply.request_id = fresh_id()
                signal = await stack.enter_async_context(self._registration())
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
        """Relay the whole answer. What goes wrong is kept: raised, it would cancel what the id still needs."""
        trace = self._trace
        await asyncio.sleep(0)  # the registration goes out first: to make a request ready takes longer
        # The stop acts on the read that is waiting, not between chunks: a silent upstream is closed as fast.
        with self._relaying:
            try:
                if self._id_is_optional:  # the request to the upstream carries the id: it waits until that is settled
                    await self._line.allowed()
                await self._forward()
            except Exception as error:
                if self._stop_reason is None:  # else it is the cut that the relay has met
                    self._failure = error
        if trace.registered_ns is not None:
            trace.upstream_closed_ns = monotonic_ns()
        self._watching.cancel()

    async def _watch(self, signal: AbortSignal, receive: Receive) -> None:
        """Let the relay ask, end it when the chat is aborted or the client leaves; returns when it has ended."""
        trace = self._trace

        def aborted() -> None:
            trace.signal_ns = monotonic_ns()
            self._stop("shutdown" if self._worker.drained else "abort")

        trace.registered_ns = monotonic_ns()
        self._poll = signal.poll
        signal.on_abort(aborted)
        early = signal.aborted  # an abort that came before its chat: the upstream is not even asked
        if not early:
            self._line.allow()
            self._begin()
        try:
            with self._watching:
                while (await receive())["type"] != "http.disconnect":
                    pass
                self._stop("disconnect")
                await sleep_forever()
        finally:
            await self._cease()
        trace.finish_reason = self._reason(early=early)
        if trace.finish_reason != "error":
            self._failure = None

    def _reason(self, *, early: bool) -> str | None:
        if self._failure is not None and self._stop_reason != "disconnect" and not early:
            return "error"
        if self._stop_reason is not None and not self._relay.complete:
            return self._stop_reason
        reason = self._natural_end()
        return "other" if reason in OWN_REASONS - {"error"} else reason

    def _stop(self, reason: str) -> None:
        if self._stop_reason is None or reason == "disconnect":
            self._stop_reason = reason
        self._line.cut()  # now, and not when the relay has noticed
        self._relaying.cancel()

    def _natural_end(self) -> str | None:
        return self._relay.finish_reason()

    def _begin(self) -> None:
        """The chat is registered: what runs beside the relay begins."""
        n = self._body.get("n")
        self._quiet.start(several=isinstance(n, int) and n > 1)

    async def _cease(self) -> None:
        """The relay has ended: end what runs beside it."""
        await self._quiet.stop()

    async def _forward(self) -> None:
        """Forward whole events until the answer ends or is aborted; returns with the upstream closed."""
        async with self._open() as stream:
            await self._relay.run(stream, self._poll)

    def _open(self) -> AbstractAsyncContextManager[ByteStream]:
        worker = self._worker
        silence_s = worker.settings.upstream_idle_s
        return open_stream(worker.client, self._body, self._trace.request_id, silence_s=silence_s, line=self._line)

    async def _end(self) -> None:
        await self._reply.end()

    async def _end_aborted(self) -> None:
        events = abort_events(
            self._relay.last,
            self._body,
            self._trace.request_id,
            reason=self._abort_reason,
            delivered=self._trace.chunks,
            texts=self._relay.texts,
        )
        await self._reply.end(events + sse.DONE)

    def _refuse(self, status: int, detail: str, **headers: str) -> Response:
        self._trace.finish_reason = f"refused_{status}"
        return refusal(status, detail, id_headers(self._trace.request_id) | headers)
