"""Actions while the upstream is silent: send the headers, send comments, end an answer that has its finish_reason.

One timer per chat that fires about once a second; no work per chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from server import sse
from server.ops.trace import ChatTrace
from server.relay.relay import Relay
from server.relay.reply import Reply

CHECK_INTERVAL_S = 1.0
"""An upstream that keeps its stream open after the finish_reason is closed after one to two intervals."""


class SilenceMonitor:
    """Monitors one streamed chat from `start` to `stop`."""

    def __init__(self, relay: Relay, reply: Reply, trace: ChatTrace, *, grace_s: float, comment_s: float) -> None:
        self._relay = relay
        self._reply = reply
        self._trace = trace
        self._grace_s = grace_s
        self._comment_s = comment_s
        self._last = b""
        self._inspected = b""  # the last events that were parsed, which is expensive
        self._chunks = 0
        self._since_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def start(self, *, several: bool) -> None:
        """Start the timer: the request to the upstream is released. `several`: the request has n > 1 choices."""
        self._several = several
        self._since_s = monotonic()
        self._timer = asyncio.get_running_loop().call_later(self._grace_s, self._check)

    async def stop(self) -> None:
        """Stop the timer; nothing is sent after this returns."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None and self._sending.cancel():
            await asyncio.wait([self._sending])

    def _check(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(min(CHECK_INTERVAL_S, self._comment_s), self._check)
        relay, now_s = self._relay, monotonic()
        if self._trace.chunks != self._chunks or not relay.waiting:
            self._chunks, self._since_s = self._trace.chunks, now_s
        if not relay.waiting or not (self._sending is None or self._sending.done()):
            pass
        elif not self._reply.started:
            self._since_s = now_s
            self._send(self._reply.start)
        elif self._is_finished(relay.last):
            relay.stop_reading()
        elif now_s - self._since_s >= self._comment_s and not self._reply.as_text:
            self._since_s = now_s
            self._send(self._comment)
        self._last = relay.last

    def _is_finished(self, last: bytes) -> bool:
        """Whether the answer was complete at the previous check; never with several choices: each has its own end."""
        if self._several or last is not self._last or last is self._inspected:
            return False
        self._inspected = last
        return self._relay.is_over()

    async def _comment(self) -> None:
        await self._reply.add(sse.KEEP_ALIVE)

    def _send(self, send: Callable[[], Awaitable[None]]) -> None:
        """Send while the relay waits; both send whole events only, so they cannot mix."""

        async def work() -> None:
            with suppress(OSError):  # the relay's next send raises it too
                await send()

        self._sending = asyncio.get_running_loop().create_task(work())
