"""How well the mock itself is doing: how late its event loop runs, how long its garbage collector stops it."""

import asyncio
import gc
import os
from collections import Counter
from time import monotonic_ns, process_time_ns
from typing import Any

# Often enough to meet every pause that could delay a stamp, rare enough to cost 0.1 % of a core.
PROBE_S = 0.01
# Lags are counted in steps of 10 us: exact enough, and the memory does not grow with the hours.
_STEP_NS = 10_000


class Vitals:
    """A probe beside the streams, from construction on; it has a timer of its own.

    In the pacer's heap it would wake the pacer between two deadlines, and the next token might wait for a new timer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._gc_started_ns = 0
        self.reset()
        gc.callbacks.append(self._on_gc)
        self._arm()

    def reset(self) -> None:
        """Forget what was seen: a new period begins."""
        self._since_ns = monotonic_ns()
        self._lags: Counter[int] = Counter()
        self._gc_max_ns = 0

    def as_json(self) -> dict[str, Any]:
        """Return what was seen since the last reset; lags are null before the first probe.

        pid, cpu_ns (user and system time of the process so far), since_ns and now_ns (CLOCK_MONOTONIC), probes (how
        many), lag_p50_ms, lag_p99_ms, lag_max_ms (how late a 10 ms timer came back), gc_max_ms (the longest pause).
        """
        return {
            "pid": os.getpid(),
            "cpu_ns": process_time_ns(),
            "since_ns": self._since_ns,
            "now_ns": monotonic_ns(),
            "probes": self._lags.total(),
            "lag_p50_ms": self._lag_ms(50),
            "lag_p99_ms": self._lag_ms(99),
            "lag_max_ms": self._lag_ms(100),
            "gc_max_ms": self._gc_max_ns / 1e6,
        }

    def _lag_ms(self, percent: int) -> float | None:
        """The nearest-rank percentile: the smallest lag that `percent` of all probes did not exceed."""
        rank = -(-percent * self._lags.total() // 100)
        for step in sorted(self._lags):
            rank -= self._lags[step]
            if rank <= 0:
                return step * _STEP_NS / 1e6
        return None

    def _arm(self) -> None:
        self._due_ns = monotonic_ns() + round(PROBE_S * 1e9)
        self._loop.call_later(PROBE_S, self._tick)

    def _tick(self) -> None:
        late_ns = max(0, monotonic_ns() - self._due_ns)  # uvloop's timers may be early by a part of a millisecond
        self._lags[late_ns // _STEP_NS] += 1
        self._arm()

    def _on_gc(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_started_ns = monotonic_ns()
        else:
            self._gc_max_ns = max(self._gc_max_ns, monotonic_ns() - self._gc_started_ns)
