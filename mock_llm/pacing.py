"""Deadlines of tokens, and the single timer that fires all streams on schedule, never early."""

import asyncio
from array import array
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import accumulate, count
from random import Random
from time import monotonic_ns
from typing import Protocol

from mock_llm.settings import Dist, ReplySettings

# Writes per turn of the loop: a longer burst would delay reading the sockets, and with it the timestamps.
_BATCH = 64
# uvloop's timers have millisecond resolution; it runs a delay under 0.5 ms immediately, which would spin.
_MIN_WAIT_S = 0.001
_NEVER = 1 << 63
_NS_PER_MS = 1_000_000


def headers_due_ns(reply: ReplySettings, received_ns: int) -> int:
    """Return when the response headers are due (CLOCK_MONOTONIC ns)."""
    return received_ns + round(reply.headers_ms * _NS_PER_MS)


def deadlines(reply: ReplySettings, tokens: int, received_ns: int, rng: Random) -> "array[int]":
    """Return `tokens` + 1 absolute deadlines (CLOCK_MONOTONIC ns): one per token, and one for the end.

    No token is due before the headers. The end is due with the last token, or after a stall that follows it.
    """
    ttft_ns = round(_sampler(reply.ttft_dist, reply.ttft_ms * _NS_PER_MS, rng)())
    first = max(received_ns + ttft_ns, headers_due_ns(reply, received_ns))
    gap_ns = round(reply.itl_ms * _NS_PER_MS)
    if reply.itl_dist is Dist.CONSTANT:
        due = array("q", range(first, first + tokens * gap_ns, gap_ns) if gap_ns else [first] * tokens)
    else:
        gap = _sampler(reply.itl_dist, reply.itl_ms * _NS_PER_MS, rng)
        due = array("q", accumulate((round(gap()) for _ in range(tokens - 1)), initial=first))
    due.append(due[-1])
    if reply.stall_at is not None and reply.stall_at <= tokens:
        stall_ns = round(reply.stall_ms * _NS_PER_MS)
        due[reply.stall_at :] = array("q", [at + stall_ns for at in due[reply.stall_at :]])
    return due


def _sampler(dist: Dist, mean: float, rng: Random) -> Callable[[], float]:
    if dist is Dist.UNIFORM:
        return lambda: rng.uniform(0, 2 * mean)
    if dist is Dist.EXPONENTIAL and mean > 0:
        return lambda: rng.expovariate(1 / mean)
    return lambda: mean


class Paced(Protocol):
    """Acts at deadlines."""

    def fire(self) -> int | None:
        """Act once; return the next deadline (CLOCK_MONOTONIC ns), or None for no further calls."""


class Pacer:
    """One timer over a heap of deadlines for all streams, instead of a task per stream."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[int, int, Paced]] = []
        self._order = count()  # equal deadlines fire in order of insertion
        self._timer: asyncio.Handle | None = None
        self._armed_ns = _NEVER

    def at(self, due_ns: int, paced: Paced) -> None:
        """Fire `paced` once the clock has reached `due_ns` (CLOCK_MONOTONIC ns)."""
        heappush(self._heap, (due_ns, next(self._order), paced))
        if due_ns < self._armed_ns:
            self._arm(due_ns)

    def _arm(self, due_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_ns = due_ns
        wait_s = (due_ns - monotonic_ns()) / 1e9
        if wait_s <= 0:
            self._timer = self._loop.call_soon(self._tick)
        else:
            self._timer = self._loop.call_later(max(wait_s, _MIN_WAIT_S), self._tick)

    def _tick(self) -> None:
        heap, order = self._heap, self._order
        self._timer = None
        self._armed_ns = 0  # fire() may call at(); the timer is set once, below
        try:
            for _ in range(_BATCH):
                # Check the clock: uvloop's timers may fire early.
                if not heap or heap[0][0] > monotonic_ns():
                    break
                paced = heappop(heap)[2]
                due_ns = paced.fire()
                if due_ns is not None:
                    heappush(heap, (due_ns, next(order), paced))
        finally:  # an error in one stream must not stop the others
            self._armed_ns = _NEVER
            if heap:
                self._arm(heap[0][0])
