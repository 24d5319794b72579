"""The mock's own health: event-loop lag and garbage-collection pauses."""

import asyncio
import gc
import os
from collections import Counter, deque
from statistics import quantiles
from time import monotonic_ns, process_time_ns
from typing import Any

# Short enough to detect every pause that could delay a timestamp; costs 0.1 % of a core.
PROBE_S = 0.01
# Lags are counted in bins of 10 us, so that the memory does not grow over time.
_BIN_NS = 10_000
_SECOND_NS = 1_000_000_000
_MAX_SECONDS = 600


class LoopMonitor:
    """Measures lag and pauses from construction on, with a timer of its own.

    In the pacer's heap it would wake the pacer between two deadlines and could delay the next token.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._gc_started_ns = 0
        self.reset()
        gc.callbacks.append(self._on_gc)
        self._arm()

    def reset(self) -> None:
        """Discard all values and begin a new period."""
        self._since_ns = monotonic_ns()
        self._lags: Counter[int] = Counter()
        self._gc_max_ns = 0
        self._seconds: deque[dict[str, Any]] = deque(maxlen=_MAX_SECONDS)
        self._begin_second()

    def as_json(self) -> dict[str, Any]:
        """Return the values since the last reset; lags are null before the first probe.

        pid, cpu_ns (user and system time of the process), since_ns and now_ns (CLOCK_MONOTONIC), probes (number),
        lag_p50_ms, lag_p99_ms, lag_max_ms (delay of a 10 ms timer), gc_max_ms (longest pause).
        seconds: the last 600 at most, oldest first, including the current one; each with from_ns, to_ns
        (CLOCK_MONOTONIC) and the same four values. A second ends late if the loop was blocked.
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
            "seconds": [*self._seconds, self._second()][-_MAX_SECONDS:],
        }

    def _lag_ms(self, percent: int) -> float | None:
        """The nearest-rank percentile: the smallest lag that `percent` of the probes did not exceed."""
        rank = -(-percent * self._lags.total() // 100)
        for lag_bin in sorted(self._lags):
            rank -= self._lags[lag_bin]
            if rank <= 0:
                return lag_bin * _BIN_NS / 1e6
        return None

    def _begin_second(self) -> None:
        self._second_ns = monotonic_ns()
        self._second_lags_ms: list[float] = []
        self._second_gc_max_ns = 0

    def _second(self) -> dict[str, Any]:
        lags_ms = self._second_lags_ms
        # Interpolated: with fewer than 100 probes the nearest-rank p99 would be the maximum. A single probe (a loop
        # that was blocked all the time) is every percentile.
        cuts = quantiles(lags_ms if len(lags_ms) > 1 else lags_ms * 2, n=100, method="inclusive") if lags_ms else None
        return {
            "from_ns": self._second_ns,
            "to_ns": monotonic_ns(),
            # Rounded to 1 ns: interpolating between equal values can differ in the last bit.
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
        late_ns = max(0, now_ns - self._due_ns)  # uvloop's timers may fire a fraction of a millisecond early
        self._lags[late_ns // _BIN_NS] += 1
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
