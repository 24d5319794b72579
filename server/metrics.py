"""Prometheus metrics, right for any number of workers, and what keeps the slow-moving ones up to date.

With several workers prometheus-client shares values through files in PROMETHEUS_MULTIPROC_DIR, which must be set before
this module is imported; `python -m server` makes the folder and removes it.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from time import monotonic

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from backends import Delivery

EVERY_S = 0.5
_STOP_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

_REASONS = frozenset(
    ["stop", "length", "tool_calls", "content_filter", "function_call", "abort", "disconnect", "error", "unknown"]
)

CHATS = Counter("stopwatch_chats", "Chats that have ended, by the reason", ["finish_reason"])
ABORTS = Counter("stopwatch_aborts", "Aborts that were asked for, by what became of them", ["outcome"])
STOP_S = Histogram(
    "stopwatch_stop_seconds", "From the abort seen by the owner to the upstream closed", buckets=_STOP_BUCKETS_S
)
TTFT_S = Histogram("stopwatch_ttft_seconds", "From the request to the first chunk forwarded")
LIVE = Gauge("stopwatch_live_streams", "Chats that are live now", multiprocess_mode="livesum")
READY = Gauge("stopwatch_listener_ready", "1 when aborts can reach every worker", multiprocess_mode="livemin")
LAG_S = Gauge("stopwatch_event_loop_lag_seconds", "How late the event loop runs a timer", multiprocess_mode="livemax")
STORE = Counter("stopwatch_store_events", "What happened between the workers and the store", ["event"])


def count_chat(finish_reason: str | None) -> None:
    """Count a chat that has ended; an upstream that makes up reasons makes no more labels."""
    reason = finish_reason or "unknown"
    CHATS.labels(reason if reason in _REASONS or reason.startswith("refused_") else "other").inc()


def render() -> bytes:
    """All workers' metrics in Prometheus's text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class Sampler:
    """Keeps what cannot be counted as it happens up to date: live streams, readiness, store events, event-loop lag."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._before = asdict(delivery.counters)
        self._since_s = monotonic()
        self._worst_s = 0.0

    def take(self, lag_s: float) -> None:
        """Take a reading of the event loop's lag; about twice a second, publish."""
        self._worst_s = max(self._worst_s, lag_s)
        if monotonic() - self._since_s < EVERY_S * 0.9:  # a timer may be early
            return
        LAG_S.set(self._worst_s)
        LIVE.set(self._delivery.live)
        READY.set(self._delivery.ready)
        now = asdict(self._delivery.counters)
        for event, count in now.items():
            STORE.labels(event).inc(count - self._before[event])
        self._before, self._since_s, self._worst_s = now, monotonic(), 0.0
