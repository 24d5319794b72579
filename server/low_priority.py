"""Work of a worker that can wait: the end of an aborted chat, and the answer to its abort.

Both together take longer than closing the chat's upstream, which is paid for while it is open. When many chats are
aborted at once, further aborts are received, and their upstreams closed, between the ends of two chats.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

PER_ITERATION = 1


class LowPriorityQueue:
    """Runs callbacks in order, PER_ITERATION in each iteration of the event loop, which receives requests in between.

    The first ones are run at once.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._run_now = 0  # callbacks of this iteration
        self._scheduled = False

    def add(self, callback: Callable[[], object]) -> None:
        """Run the callback, now or in a later iteration; it must not raise."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next_iteration)
        if self._run_now < PER_ITERATION:
            self._run_now += 1
            callback()
        else:
            self._waiting.append(callback)

    async def turn(self) -> None:
        """Return when it is the caller's turn, at least one iteration later."""
        turn = asyncio.Event()
        self.add(turn.set)
        await asyncio.sleep(0)
        await turn.wait()

    def _next_iteration(self) -> None:
        self._run_now = min(PER_ITERATION, len(self._waiting))
        self._scheduled = self._run_now > 0
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._next_iteration)
        for _ in range(self._run_now):
            self._waiting.popleft()()
