"""Prometheus metrics, right for any number of workers, and what keeps the slow-moving ones up to date.

With several workers prometheus-client shares values through files in PROMETHEUS_MULTIPROC_DIR, which must be set before
this module is imported; `python -m server` makes the folder and removes it.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import asdict
from time import monotonic

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from backends import Delivery
from server.ops.logs import LOG

EVERY_S = 0.5
LAG_WINDOW_S = 15.0
"""The worst lag of so long is shown: who asks as often misses no stall."""
_STOP_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

OWN_REASONS = frozenset(
    ["abort", "disconnect", "shutdown", "error", "unknown", "refused_409", "refused_429", "refused_503"]
)
"""Why a chat ended when it was not the upstream that ended it; an upstream's `error` is one, too."""
_REASONS = OWN_REASONS | {"stop", "length", "tool_calls", "content_filter", "function_call"}

CHATS = Counter("stopwatch_chats", "Chats that have ended, by the reason", ["finish_reason"])
ABORTS = Counter("stopwatch_aborts", "Aborts that were asked for, by what became of them", ["outcome"])
STOP_S = Histogram(
    "stopwatch_stop_seconds", "From the abort seen by the owner to the upstream closed", buckets=_STOP_BUCKETS_S
)
TTFT_S = Histogram(
    "stopwatch_ttft_seconds", "From the request to the first text: content, reasoning, a refusal or a tool call"
)
LIVE = Gauge("stopwatch_live_streams", "Chats that are live now", multiprocess_mode="livesum")
READY = Gauge("stopwatch_listener_ready", "1 when aborts can reach every worker", multiprocess_mode="livemin")
HEARTBEAT_AGE_S = Gauge(
    "stopwatch_heartbeat_age_seconds",
    "Since a worker's heartbeat last came through the store: the worst of the workers",
    multiprocess_mode="livemax",
)
LAG_S = Gauge(
    "stopwatch_event_loop_lag_seconds",
    "The latest that an event loop ran a timer in the last 15 s",
    multiprocess_mode="livemax",
)
STORE = Counter("stopwatch_store_events", "What happened between the workers and the store", ["event"])


def count_chat(finish_reason: str | None) -> None:
    """Count a chat that has ended; the labels are a closed set, whatever an upstream gives as its reason."""
    reason = finish_reason or "unknown"
    CHATS.labels(reason if reason in _REASONS else "other").inc()


def render() -> bytes:
    """All workers' metrics in Prometheus's text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def leave() -> None:
    """Take what this worker counts as live out of the metrics: it is about to end, and nobody may do it later."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


class Sampler:
    """Keeps what cannot be counted as it happens up to date: live streams, readiness, store events, event-loop lag.

    It also logs when the store is lost, and when it is back.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._before = asdict(delivery.counters)
        self._since_s = monotonic()
        self._worst_s = 0.0
        self._worst_before_s: deque[float] = deque(maxlen=round(LAG_WINDOW_S / EVERY_S))
        self._away = False

    def take(self, lag_s: float) -> None:
        """Take a reading of the event loop's lag; about twice a second, publish."""
        self._worst_s = max(self._worst_s, lag_s)
        if monotonic() - self._since_s < EVERY_S * 0.9:  # a timer may be early
            return
        self._worst_before_s.append(self._worst_s)
        LAG_S.set(max(self._worst_before_s))
        LIVE.set(self._delivery.live)
        READY.set(self._delivery.ready)
        HEARTBEAT_AGE_S.set(self._delivery.heartbeat_age_s)
        now = asdict(self._delivery.counters)
        for event, count in now.items():
            STORE.labels(event).inc(count - self._before[event])
        self._log(lost=now["lost"] > self._before["lost"])
        self._before, self._since_s, self._worst_s = now, monotonic(), 0.0

    def _log(self, *, lost: bool) -> None:
        ready = self._delivery.ready
        if not self._away and (lost or not ready):
            self._away = True
            reason = self._delivery.last_error or "no heartbeat came through"
            LOG.warning("store lost: an abort might not reach this worker: %s", reason)
        if self._away and ready:
            self._away = False
            LOG.warning("store back: every abort that was accepted has been delivered")
