"""What happens while the upstream is silent: headers after a grace time, comments, and the end of a finished answer.

One timer for each chat, which looks at it about once a second, and nothing for each chunk.
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

LOOK_S = 1.0
"""An upstream that holds its stream open after its finish_reason is left after one to two of these."""


class Quiet:
    """Looks after one streamed chat from `start` to `stop`."""

    def __init__(self, relay: Relay, reply: Reply, trace: ChatTrace, *, grace_s: float, comment_s: float) -> None:
        self._relay = relay
        self._reply = reply
        self._trace = trace
        self._grace_s = grace_s
        self._comment_s = comment_s
        self._last = b""
        self._judged = b""  # the last event that was looked into, which takes longer
        self._chunks = 0
        self._since_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def start(self, *, several: bool) -> None:
        """Begin: the upstream may be asked now. `several`: more than one choice was asked for."""
        self._several = several
        self._since_s = monotonic()
        self._timer = asyncio.get_running_loop().call_later(self._grace_s, self._look)

    async def stop(self) -> None:
        """Send nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None and self._sending.cancel():
            await asyncio.wait([self._sending])

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(min(LOOK_S, self._comment_s), self._look)
        relay, now_s = self._relay, monotonic()
        if self._trace.chunks != self._chunks or not relay.waiting:
            self._chunks, self._since_s = self._trace.chunks, now_s
        if not relay.waiting or not (self._sending is None or self._sending.done()):
            pass
        elif not self._reply.started:
            self._since_s = now_s
            self._send(self._reply.start)
        elif self._finished(relay.last):
            relay.stop_reading()
        elif now_s - self._since_s >= self._comment_s and not self._reply.as_text:
            self._since_s = now_s
            self._send(self._comment)
        self._last = relay.last

    def _finished(self, last: bytes) -> bool:
        """Whether the answer has been over since the look before; of several choices each gives a reason of its own."""
        if self._several or last is not self._last or last is self._judged:
            return False
        self._judged = last
        return self._relay.over()

    async def _comment(self) -> None:
        await self._reply.add(sse.KEEP_ALIVE)

    def _send(self, send: Callable[[], Awaitable[None]]) -> None:
        """Send beside the relay, which waits; both send whole events only."""

        async def work() -> None:
            with suppress(OSError):  # the relay will meet it as well
                await send()

        self._sending = asyncio.get_running_loop().create_task(work())
