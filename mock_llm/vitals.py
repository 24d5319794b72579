"""How well the mock itself is doing: how late its event loop runs, how long its garbage collector stops it."""

import asyncio
import gc
import os
from collections import Counter, deque
from statistics import quantiles
from time import monotonic_ns, process_time_ns
from typing import Any

# Often enough to meet every pause that could delay a stamp, rare enough to cost 0.1 % of a core.
PROBE_S = 0.01
# Lags are counted in steps of 10 us: exact enough, and the memory does not grow with the hours.
_STEP_NS = 10_000
_SECOND_NS = 1_000_000_000
_MOST_SECONDS = 600


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
        self._seconds: deque[dict[str, Any]] = deque(maxlen=_MOST_SECONDS)
        self._begin_second()

    def as_json(self) -> dict[str, Any]:
        """Return what was seen since the last reset; lags are null before the first probe.

        pid, cpu_ns (user and system time of the process so far), since_ns and now_ns (CLOCK_MONOTONIC), probes (how
        many), lag_p50_ms, lag_p99_ms, lag_max_ms (how late a 10 ms timer came back), gc_max_ms (the longest pause).

        seconds: the last 600 at most, the unfinished one too, oldest first; from_ns, to_ns (CLOCK_MONOTONIC) and the
        same four signs for each. A second of a loop that was held up ends late.
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
            "seconds": [*self._seconds, self._second()][-_MOST_SECONDS:],
        }

    def _lag_ms(self, percent: int) -> float | None:
        """The nearest-rank percentile: the smallest lag that `percent` of all probes did not exceed."""
        rank = -(-percent * self._lags.total() // 100)
        for step in sorted(self._lags):
            rank -= self._lags[step]
            if rank <= 0:
                return step * _STEP_NS / 1e6
        return None

    def _begin_second(self) -> None:
        self._second_ns = monotonic_ns()
        self._second_lags_ms: list[float] = []
        self._second_gc_max_ns = 0

    def _second(self) -> dict[str, Any]:
        lags_ms = self._second_lags_ms
        # Interpolated: of fewer than a hundred probes the nearest rank would be the maximum, a single hiccup. One probe
        # alone, of a loop that was held up all the while, is every percentile.
        cuts = quantiles(lags_ms if len(lags_ms) > 1 else lags_ms * 2, n=100, method="inclusive") if lags_ms else None
        return {
            "from_ns": self._second_ns,
            "to_ns": monotonic_ns(),
            # To the nanosecond: interpolating between equal values is off by the last bit, upwards or downwards.
            "lag_p50_ms": cuts and round(cuts[49], 6),
            "lag_p99_ms": cuts and round(cuts[98], 6),
            "lag_max_ms": max(lags_ms, default=None),
            "gc_max_ms": self._second_gc_max_ns / 1e6,
        }

    def _arm(self) -> None:
        self._due_ns = monotonic_ns() + round(PROBE_S * 1e9)
        self._loop.call_later(PROBE_S, self._tick)

    def _tick(self) -> None:
        now_ns = monotonic_ns()
        late_ns = max(0, now_ns - self._due_ns)  # uvloop's timers may be early by a part of a millisecond
        self._lags[late_ns // _STEP_NS] += 1
        self._second_lags_ms.append(late_ns / 1e6)
        if now_ns - self._second_ns >= _SECOND_NS:
            self._seconds.append(self._second())
            self._begin_second()
        self._arm()

    def _on_gc(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_started_ns = monotonic_ns()
        else:
            took_ns = monotonic_ns() - self._gc_started_ns
            self._gc_max_ns = max(self._gc_max_ns, took_ns)
            self._second_gc_max_ns = max(self._second_gc_max_ns, took_ns)
