"""How well the load process itself is: how late gevent's hub runs a timer, and garbage-collection pauses."""

from __future__ import annotations

import gc
import os
import statistics
from itertools import pairwise
from time import monotonic_ns
from types import TracebackType
from typing import Any, Self

import gevent

PROBE_S = 0.01
SECOND_NS = 1_000_000_000
MOST_SECONDS = 600


class Vitals:
    """A probe every 10 ms from entering to leaving; `seen` gives milliseconds."""

    def __enter__(self) -> Self:
        self._late_ms: list[float] = []
        self._pauses_ms: list[float] = []
        self._began_ns = 0
        self._marks: list[tuple[int, int, int]] = []  # where a second begins: ns, and how many lags and pauses by then
        self._mark()
        gc.callbacks.append(self._collected)
        self._probe = gevent.spawn(self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._probe.kill()
        gc.callbacks.remove(self._collected)
        self._mark()

    def seen(self) -> dict[str, Any]:
        """`{"pid", "lag_p50_ms", "lag_p99_ms", "lag_max_ms", "gc_max_ms", "seconds"}`; p50 and p99 need two probes.

        `seconds` are the last 600 or fewer, `{"from_ns", "to_ns", <the same signs>}` each (CLOCK_MONOTONIC ns); the
        part of a second at the end is among them once the block is left.
        """
        # Reckoned here and not once a second: that would keep the load waiting in mid-measurement.
        seconds = [
            {"from_ns": from_ns, "to_ns": to_ns} | _signs(self._late_ms[lag:lags], self._pauses_ms[pause:pauses])
            for (from_ns, lag, pause), (to_ns, lags, pauses) in pairwise(self._marks[-MOST_SECONDS - 1 :])
        ]
        return {"pid": os.getpid(), **_signs(self._late_ms, self._pauses_ms), "seconds": seconds}

    def _look(self) -> None:
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


def _signs(late_ms: list[float], pauses_ms: list[float]) -> dict[str, Any]:
    late = sorted(late_ms)
    cuts = statistics.quantiles(late, n=100, method="inclusive") if len(late) > 1 else None
    return {
        # To the nanosecond: interpolating between equal values is off by the last bit, upwards or downwards.
        "lag_p50_ms": cuts and round(cuts[49], 6),
        "lag_p99_ms": cuts and round(cuts[98], 6),
        "lag_max_ms": late[-1] if late else None,
        "gc_max_ms": max(pauses_ms, default=0.0),
    }
