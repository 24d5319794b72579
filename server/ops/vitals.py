"""A worker's vital signs: how late its event loop runs a timer, and how long garbage collection holds it up."""

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

PROBE_S = 0.01
METRICS_PROBE_S = 0.05
"""A stall of twice as long is always seen, whenever it comes; twenty wake-ups a second are no load."""
Take = Callable[[float], None]
REPORT_NS = 1_000_000_000


@asynccontextmanager
async def vital_signs(tracer: Tracer, sampler: Sampler) -> AsyncIterator[None]:
    """Watch the event loop for the metrics during the block; more closely, and garbage collection too, for a trace."""
    with ExitStack() as stack:
        every_s = METRICS_PROBE_S
        takers: tuple[Take, ...] = (sampler.take,)
        if tracer.on:
            vitals = Vitals(tracer)
            stack.enter_context(vitals.kept())
            every_s, takers = PROBE_S, (sampler.take, vitals.take)
        async with asyncio.TaskGroup() as tasks:
            probing = tasks.create_task(_probe(every_s, takers))
            yield
            probing.cancel()


async def _probe(every_s: float, takers: tuple[Take, ...]) -> None:
    """Sleep for `every_s` again and again, and tell the takers how much too late it was over (s, never negative).

    What a timer is late by itself is in it. Runs until cancelled.
    """
    while True:
        due_s = monotonic() + every_s
        await asyncio.sleep(every_s)
        lag_s = max(0.0, monotonic() - due_s)
        for take in takers:
            take(lag_s)


class Vitals:
    """Writes a `HealthTrace` for each second."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._lags_s: list[float] = []
        self._from_ns = monotonic_ns()
        self._collecting_ns = 0
        self._longest_ns = 0

    def take(self, lag_s: float) -> None:
        """Take a reading of the probe."""
        self._lags_s.append(lag_s)
        if monotonic_ns() - self._from_ns >= REPORT_NS:
            self._report()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Look at garbage collection during the block; what is left of the last second is written when it ends."""
        gc.callbacks.append(self._collected)
        try:
            yield
        finally:
            gc.callbacks.remove(self._collected)
            self._report()

    def _collected(self, phase: str, _: dict[str, Any]) -> None:
        now_ns = monotonic_ns()
        if phase == "start":
            self._collecting_ns = now_ns
        else:
            self._longest_ns = max(self._longest_ns, now_ns - self._collecting_ns)

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
    """The nearest rank, from values in ascending order; None if there are none."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None
