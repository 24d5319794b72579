"""Relay the upstream's events to the client, until its terminal event, an error, or the end of the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from time import monotonic_ns

from anyio import CancelScope

from server import sse
from server.ops.trace import ChatTrace
from server.relay import chunks
from server.relay.chunks import DELTA, REASON
from server.relay.failures import BROKEN_OFF, TYPE, ConnectionLostError, UpstreamError, stated
from server.relay.reply import Reply
from server.relay.upstream import ByteStream

Poll = Callable[[], Awaitable[bool]]


class Relay:
    """One answer on its way, and what is known of it."""

    def __init__(self, trace: ChatTrace, reply: Reply, *, max_event_bytes: int) -> None:
        self._trace = trace
        self._reply = reply
        self._max_event_bytes = max_event_bytes
        self._stream: ByteStream | None = None
        self._reading = CancelScope()
        self._done = False  # the terminal event has been read
        self._without_text = 0  # chunks before the first text
        self.complete = False
        """The client has the whole answer: an abort that comes now is too late."""
        self.error_sent = False
        """The upstream's own error event has been relayed."""
        self.last = b""
        """The last event with choices, and perhaps others: a final chunk of ours continues it."""

    @property
    def waiting(self) -> bool:
        """Whether the upstream is waited for now, and not the client or the store."""
        return not self.complete and (self._stream is None or self._stream.waiting)

    @property
    def texts(self) -> int:
        """How many chunks with text the client has."""
        return max(0, self._trace.chunks - self._without_text)

    def finish_reason(self) -> str | None:
        """Why the upstream ended its answer; None if it has not said so."""
        return chunks.finish_reason_of(self.last)

    def over(self) -> bool:
        """Whether nothing but usage can follow: the last chunk gives a reason, or an error."""
        return self.finish_reason() is not None or chunks.failure_in(self.last) is not None

    def stop_reading(self) -> None:
        """Take the answer as ended, though the upstream does not end it."""
        self._reading.cancel()

    async def run(self, stream: ByteStream, poll: Poll | None) -> None:
        """Relay whole events until the answer ends. Raises `UpstreamError`.

        Returns early when `poll` says that the chat was aborted.
        """
        self._stream = stream
        async with aclosing(sse.whole_events(stream, self._max_event_bytes)) as events:
            with self._reading:
                try:
                    if await self._pass_on(events, poll):
                        return
                except ConnectionLostError:
                    if self.finish_reason() is None:
                        raise  # else only the end of the body is missing
                except (sse.EventTooLargeError, chunks.MalformedChunkError) as error:
                    raise UpstreamError(502, {"message": str(error), "type": TYPE}) from error
            if self._done:
                await stream.end()
            await self._complete()

    async def _pass_on(self, events: AsyncIterator[bytes], poll: Poll | None) -> bool:
        """Forward what comes; True when the chat was aborted."""
        trace, reply, as_text, send = self._trace, self._reply, self._reply.as_text, self._reply.send_chunk
        async for read in events:
            if poll is not None and await poll():
                return True
            data, count, failure = read, sse.chunks_in(read), None
            tail = data if count == 1 else data[data.rfind(b"\ndata:") + 1 :]
            usual = DELTA in tail and trace.first_text_ns is not None
            if usual:
                self.last = tail
            else:
                data, failure = self._inspect(data)
                count = sse.chunks_in(data)
                if failure is not None and not count:
                    raise failure
            out = chunks.text_of(data).encode() if as_text else data
            if not usual:
                await reply.start()
            await send({"type": "http.response.body", "body": out, "more_body": True})
            trace.chunks += count
            if not usual:
                if failure is not None:
                    raise failure
                if self._done:
                    trace.chunks -= 1
                    self.complete = True
                    return False
        return False

    def _inspect(self, data: bytes) -> tuple[bytes, UpstreamError | None]:
        """Look at what is no ordinary chunk; returns what is to be forwarded, and the error that stands behind it."""
        trace = self._trace
        if trace.first_byte_ns is None:
            trace.first_byte_ns = monotonic_ns()
            data = data.removeprefix(sse.BOM)
        if (end := sse.terminal_end(data)) is not None:
            self._done = True
            data = data[:end]  # whatever comes behind it is not part of the answer
        if (failed := chunks.failure_in(data)) is not None:
            return failed[0], stated(failed[1])
        if DELTA in data or REASON in data:
            self.last = data
        if trace.first_text_ns is None:
            before, found = chunks.before_text(data)
            self._without_text += before
            if found:
                trace.first_text_ns = monotonic_ns()
        return data, None

    async def _complete(self) -> None:
        """Check how the stream ended: some upstreams send no [DONE], others have crashed."""
        if (failed := chunks.failure_in(self.last)) is not None:
            self.error_sent = True
            raise stated(failed[1])
        if not self.complete:
            if self.finish_reason() is None:
                raise UpstreamError(502, BROKEN_OFF)
            await self._reply.add(sse.DONE)
            self.complete = True
