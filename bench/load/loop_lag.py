"""Measure a load process: how late gevent's hub runs a timer, and garbage-collection pauses."""

import gc
import os
import statistics
from itertools import pairwise
from time import monotonic_ns, process_time_ns
from typing import Any, Self

import gevent

from bench.record.traces import ProcessHealth, Second

PROBE_S = 0.01
SECOND_NS = 1_000_000_000
MOST_SECONDS = 600


class LoopProbe:
    """A 10 ms timer from entering to leaving the block."""

    def __enter__(self) -> Self:
        self._late_ms: list[float] = []
        self._pauses_ms: list[float] = []
        self._began_ns = 0
        self._cpu_ns = process_time_ns()
        self._marks: list[tuple[int, int, int]] = []  # beginning of a second: ns, lags and pauses until then
        self._mark()
        gc.callbacks.append(self._collected)
        self._probe = gevent.spawn(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._probe.kill()
        gc.callbacks.remove(self._collected)
        self._mark()
        self._cpu_ns = process_time_ns() - self._cpu_ns

    def health(self) -> ProcessHealth:
        """Lags and pauses so far, and of each of the last 600 seconds; p50 and p99 need two probes."""
        # Computed at the end: once a second it would delay the load.
        seconds = [
            Second(from_ns=from_ns, to_ns=to_ns, **_lags(self._late_ms[lag:lags], self._pauses_ms[pause:pauses]))
            for (from_ns, lag, pause), (to_ns, lags, pauses) in pairwise(self._marks[-MOST_SECONDS - 1 :])
        ]
        took_ns = self._marks[-1][0] - self._marks[0][0]
        health = ProcessHealth(pid=os.getpid(), seconds=seconds, **_lags(self._late_ms, self._pauses_ms))
        health.cpu = round(self._cpu_ns / took_ns, 3) if took_ns else None
        return health

    def _run(self) -> None:
        while True:
            due_ns = monotonic_ns() + int(PROBE_S * 1e9)
            gevent.sleep(PROBE_S)
            now_ns = monotonic_ns()
            self._late_ms.append((now_ns - due_ns) / 1e6)
            if now_ns - self._marks[-1][0] >= SECOND_NS:
                self._mark()

    def _mark(self) -> None:
        self._marks.append((monotonic_ns(), len(self._late_ms), len(self._pauses_ms)))

    def _collected(self, phase: str, _info: dict[str, Any]) -> None:
        if phase == "start":
            self._began_ns = monotonic_ns()
        else:
            self._pauses_ms.append((monotonic_ns() - self._began_ns) / 1e6)


def _lags(late_ms: list[float], pauses_ms: list[float]) -> dict[str, Any]:
    late = sorted(late_ms)
    cuts = statistics.quantiles(late, n=100, method="inclusive") if len(late) > 1 else None
    return {
        # To the nanosecond: interpolation between equal values differs in the last bit.
        "lag_p50_ms": round(cuts[49], 6) if cuts else None,
        "lag_p99_ms": round(cuts[98], 6) if cuts else None,
        "lag_max_ms": late[-1] if late else None,
        "gc_max_ms": max(pauses_ms, default=0.0),
    }
