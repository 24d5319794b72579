"""Forward the upstream's events to the client until `[DONE]`, an error, or the end of the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from time import monotonic_ns

from anyio import CancelScope

from server import sse
from server.ops.trace import ChatTrace
from server.relay import chunks
from server.relay.byte_stream import ByteStream
from server.relay.chunks import DELTA, REASON
from server.relay.reply import Reply
from server.relay.upstream_errors import INCOMPLETE, TYPE, ConnectionLostError, UpstreamError, reported_error

Poll = Callable[[], Awaitable[bool]]


class Relay:
    """The relay of one answer, and its state."""

    def __init__(self, trace: ChatTrace, reply: Reply, *, max_event_bytes: int) -> None:
        self._trace = trace
        self._reply = reply
        self._max_event_bytes = max_event_bytes
        self._stream: ByteStream | None = None
        self._reading = CancelScope()
        self._done = False  # [DONE] has been read
        self._without_text = 0  # chunks before the first text
        self.complete = False
        """The client has the whole answer: an abort has no effect any more."""
        self.error_sent = False
        """The upstream's own error event has been relayed."""
        self.last = b""
        """The last event with choices, perhaps with others; the final chunk of an aborted chat has its id and model."""

    @property
    def waiting(self) -> bool:
        """Whether the relay now waits for the upstream, and not for the client or the store."""
        return not self.complete and (self._stream is None or self._stream.waiting)

    @property
    def text_chunks(self) -> int:
        """Number of chunks sent to the client from the first text on."""
        return max(0, self._trace.chunks - self._without_text)

    def finish_reason(self) -> str | None:
        """The upstream's finish_reason; None before it has sent one."""
        return chunks.finish_reason_of(self.last)

    def is_over(self) -> bool:
        """Whether only usage can follow: the last chunk holds a finish_reason or an error."""
        return self.finish_reason() is not None or chunks.first_error(self.last) is not None

    def stop_reading(self) -> None:
        """End the answer, though the upstream keeps its stream open."""
        self._reading.cancel()

    async def run(self, stream: ByteStream, poll: Poll | None) -> None:
        """Relay whole events until the answer ends. Raises `UpstreamError`.

        Returns early when `poll` returns true: the chat was aborted.
        """
        self._stream = stream
        async with aclosing(sse.group_events(stream, self._max_event_bytes)) as events:
            with self._reading:
                try:
                    if await self._forward_events(events, poll):
                        return
                except ConnectionLostError:
                    if self.finish_reason() is None:
                        raise  # else only the end of the body is missing
                except (sse.EventTooLargeError, chunks.MalformedChunkError) as error:
                    raise UpstreamError(502, {"message": str(error), "type": TYPE}) from error
            if self._done:
                await stream.drain()
            await self._complete()

    async def _forward_events(self, events: AsyncIterator[bytes], poll: Poll | None) -> bool:
        """Forward events; returns True if the chat was aborted."""
        trace, reply, as_text, send = self._trace, self._reply, self._reply.as_text, self._reply.send_chunk
        async for read in events:
            if poll is not None and await poll():
                return True
            data, count, failure = read, sse.count_events(read), None
            tail = data if count == 1 else data[data.rfind(b"\ndata:") + 1 :]
            plain = DELTA in tail and trace.first_text_ns is not None
            if plain:
                self.last = tail
            else:
                data, failure = self._inspect(data)
                count = sse.count_events(data)
                if failure is not None and not count:
                    raise failure
            out = chunks.text_of(data).encode() if as_text else data
            if not plain:
                await reply.start()
            await send({"type": "http.response.body", "body": out, "more_body": True})
            trace.chunks += count
            if not plain:
                if failure is not None:
                    raise failure
                if self._done:
                    trace.chunks -= 1
                    self.complete = True
                    return False
        return False

    def _inspect(self, data: bytes) -> tuple[bytes, UpstreamError | None]:
        """Parse events that may not be plain chunks; returns the bytes to forward, and the error that follows them."""
        trace = self._trace
        if trace.first_byte_ns is None:
            trace.first_byte_ns = monotonic_ns()
            data = data.removeprefix(sse.BOM)
        if (end := sse.done_end(data)) is not None:
            self._done = True
            data = data[:end]  # bytes after [DONE] are not part of the answer
        if (found := chunks.first_error(data)) is not None:
            return found[0], reported_error(found[1])
        if DELTA in data or REASON in data:
            self.last = data
        if trace.first_text_ns is None:
            before, has_text = chunks.events_before_text(data)
            self._without_text += before
            if has_text:
                trace.first_text_ns = monotonic_ns()
        return data, None

    async def _complete(self) -> None:
        """Check the end of the stream: some upstreams send no [DONE], others crash."""
        if (found := chunks.first_error(self.last)) is not None:
            self.error_sent = True
            raise reported_error(found[1])
        if not self.complete:
            if self.finish_reason() is None:
                raise UpstreamError(502, INCOMPLETE)
            await self._reply.add(sse.DONE)
            self.complete = True
