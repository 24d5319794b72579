"""How well the load process itself is: how late gevent's hub runs a timer, and garbage-collection pauses."""

from __future__ import annotations

import gc
import os
import statistics
from time import monotonic_ns
from types import TracebackType
from typing import Any, Self

import gevent

PROBE_S = 0.01


class Vitals:
    """A probe every 10 ms from entering to leaving; `seen` gives milliseconds."""

    def __enter__(self) -> Self:
        self._late_ms: list[float] = []
        self._pauses_ms: list[float] = []
        self._began_ns = 0
        gc.callbacks.append(self._collected)
        self._probe = gevent.spawn(self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._probe.kill()
        gc.callbacks.remove(self._collected)

    def seen(self) -> dict[str, Any]:
        """`{"pid", "lag_p50_ms", "lag_p99_ms", "lag_max_ms", "gc_max_ms"}`; a lag is null before two probes."""
        late = sorted(self._late_ms)
        cuts = statistics.quantiles(late, n=100, method="inclusive") if len(late) > 1 else None
        return {
            "pid": os.getpid(),
            "lag_p50_ms": cuts and cuts[49],
            "lag_p99_ms": cuts and cuts[98],
            "lag_max_ms": late[-1] if late else None,
            "gc_max_ms": max(self._pauses_ms, default=0.0),
        }

    def _look(self) -> None:
        while True:
            due_ns = monotonic_ns() + int(PROBE_S * 1e9)
            gevent.sleep(PROBE_S)
            self._late_ms.append((monotonic_ns() - due_ns) / 1e6)

    def _collected(self, phase: str, _info: dict[str, Any]) -> None:
        if phase == "start":
            self._began_ns = monotonic_ns()
        else:
            self._pauses_ms.append((monotonic_ns() - self._began_ns) / 1e6)
