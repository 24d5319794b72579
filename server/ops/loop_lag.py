"""A worker's event-loop lag and garbage-collection pauses, for the metrics and the trace."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from time import monotonic, monotonic_ns
from typing import Any

from server.ops.metrics import Sampler
from server.ops.trace import HealthTrace, Tracer

TRACE_PROBE_S = 0.01
METRICS_PROBE_S = 0.05
"""A stall of twice this interval is always measured; 20 wake-ups a second cost nothing noticeable."""
AddLag = Callable[[float], None]
REPORT_NS = 1_000_000_000


@asynccontextmanager
async def monitor_loop(tracer: Tracer, sampler: Sampler) -> AsyncIterator[None]:
    """Measure event-loop lag during the block; with a trace also garbage collection, at a shorter interval."""
    with ExitStack() as stack:
        every_s = METRICS_PROBE_S
        receivers: tuple[AddLag, ...] = (sampler.add_lag,)
        if tracer.enabled:
            reporter = HealthReporter(tracer)
            stack.enter_context(reporter.running())
            every_s, receivers = TRACE_PROBE_S, (sampler.add_lag, reporter.add_lag)
        async with asyncio.TaskGroup() as tasks:
            probing = tasks.create_task(_probe(every_s, receivers))
            yield
            probing.cancel()


async def _probe(every_s: float, receivers: tuple[AddLag, ...]) -> None:
    """Sleep for `every_s` repeatedly, and pass the delay of each wake-up (s, at least 0) to the receivers.

    The delay includes the timer's own inaccuracy. Runs until cancelled.
    """
    while True:
        due_s = monotonic() + every_s
        await asyncio.sleep(every_s)
        lag_s = max(0.0, monotonic() - due_s)
        for add_lag in receivers:
            add_lag(lag_s)


class HealthReporter:
    """Writes a `HealthTrace` every second."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._lags_s: list[float] = []
        self._from_ns = monotonic_ns()
        self._collection_start_ns = 0
        self._longest_ns = 0

    def add_lag(self, lag_s: float) -> None:
        """Add a lag sample."""
        self._lags_s.append(lag_s)
        if monotonic_ns() - self._from_ns >= REPORT_NS:
            self._report()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure garbage collections during the block; the last partial second is written at its end."""
        gc.callbacks.append(self._on_collection)
        try:
            yield
        finally:
            gc.callbacks.remove(self._on_collection)
            self._report()

    def _on_collection(self, phase: str, _: dict[str, Any]) -> None:
        now_ns = monotonic_ns()
        if phase == "start":
            self._collection_start_ns = now_ns
        else:
            self._longest_ns = max(self._longest_ns, now_ns - self._collection_start_ns)

    def _report(self) -> None:
        now_ns = monotonic_ns()
        lags_ms = sorted(lag_s * 1000 for lag_s in self._lags_s)
        self._tracer.write(
            HealthTrace(
                from_ns=self._from_ns,
                to_ns=now_ns,
                lag_p50_ms=_percentile(lags_ms, 0.5),
                lag_p99_ms=_percentile(lags_ms, 0.99),
                lag_max_ms=_percentile(lags_ms, 1.0),
                gc_max_ms=self._longest_ns / 1e6,
            )
        )
        self._lags_s, self._from_ns, self._longest_ns = [], now_ns, 0


def _percentile(ordered: list[float], share: float) -> float | None:
    """Return the nearest-rank percentile of sorted values; None if there are none."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None
