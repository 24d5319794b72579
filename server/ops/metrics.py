"""Prometheus metrics of all workers, and the sampler that updates the gauges.

prometheus-client shares the values of several workers through files in PROMETHEUS_MULTIPROC_DIR, which must be set
before this module is imported; `python -m server` creates and removes the folder.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from time import monotonic

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from backends import Delivery
from server.ops.logs import LOG
from server.ops.trace import ChatTrace

SAMPLE_INTERVAL_S = 0.5
LAG_WINDOW_S = 15.0
"""The gauge shows the maximum lag of this window: a scrape interval of 15 s misses no stall."""
_STOP_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

SERVICE_REASONS = frozenset(
    ["abort", "disconnect", "shutdown", "error", "unknown", "refused_409", "refused_429", "refused_503"]
)
"""Finish reasons set by the service, not by the upstream; an upstream's `error` is counted here, too."""
_CLOSED_BY_SERVICE = ("abort", "disconnect", "shutdown")
_REASONS = SERVICE_REASONS | {"stop", "length", "tool_calls", "content_filter", "function_call"}

CHATS = Counter("stopwatch_chats", "Chats that have ended, by finish_reason", ["finish_reason"])
ABORTS = Counter("stopwatch_aborts", "Abort requests, by outcome", ["outcome"])
STOP_S = Histogram(
    "stopwatch_stop_seconds",
    "From the abort's arrival at the chat's worker to the closed upstream",
    buckets=_STOP_BUCKETS_S,
)
DISHONEST_STOPS = Counter(
    "stopwatch_dishonest_stops", "Chats that had an accepted abort, and whose upstream ended by itself nevertheless"
)
OPEN_UPSTREAMS = Gauge(
    "stopwatch_open_upstreams",
    "Upstream connections that carry a chat's request; idle ones in the pool do not count",
    multiprocess_mode="livesum",
)
TTFT_S = Histogram(
    "stopwatch_ttft_seconds", "From the request to the first text: content, reasoning, refusal or tool call"
)
LIVE = Gauge("stopwatch_live_streams", "Live chats", multiprocess_mode="livesum")
READY = Gauge("stopwatch_listener_ready", "1 if aborts can reach every worker", multiprocess_mode="livemin")
HEARTBEAT_AGE_S = Gauge(
    "stopwatch_heartbeat_age_seconds",
    "Age of the last heartbeat received through the store; the maximum over workers",
    multiprocess_mode="livemax",
)
LAG_S = Gauge(
    "stopwatch_event_loop_lag_seconds",
    "Maximum delay of an event-loop timer in the last 15 s; the maximum over workers",
    multiprocess_mode="livemax",
)
STORE = Counter("stopwatch_store_events", "Events between the workers and the store", ["event"])


def count_chat(finish_reason: str | None) -> None:
    """Count a chat that has ended; a reason outside the known set is counted as `other`."""
    reason = finish_reason or "unknown"
    CHATS.labels(reason if reason in _REASONS else "other").inc()


def count_abort(trace: ChatTrace, *, recorded: bool) -> None:
    """Count what became of the upstream of a chat that has ended, if the chat was aborted.

    `recorded`: the store held an abort of it, whether or not it had reached the chat.
    """
    if trace.finish_reason in _CLOSED_BY_SERVICE:
        if trace.signal_ns is not None and trace.upstream_closed_ns is not None:
            # The client may have hung up first: then the upstream was closed before the abort arrived.
            STOP_S.observe(max(0, trace.upstream_closed_ns - trace.signal_ns) / 1e9)
    elif recorded or trace.signal_ns is not None:
        DISHONEST_STOPS.inc()


def render() -> bytes:
    """Return all workers' metrics in Prometheus's text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def remove_live_values() -> None:
    """Remove this worker's live gauges: it is about to end, and no other process removes them."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


class Sampler:
    """Updates live streams, open upstreams, readiness, store events and event-loop lag twice a second.

    Also logs when the store is lost, and when it is back.
    """

    def __init__(self, delivery: Delivery, open_upstreams: Callable[[], int]) -> None:
        self._delivery = delivery
        self._open_upstreams = open_upstreams
        self._before = asdict(delivery.counters)
        self._since_s = monotonic()
        self._max_lag_s = 0.0
        self._recent_max_s: deque[float] = deque(maxlen=round(LAG_WINDOW_S / SAMPLE_INTERVAL_S))
        self._store_lost = False

    def add_lag(self, lag_s: float) -> None:
        """Add a lag sample; publishes the gauges every SAMPLE_INTERVAL_S."""
        self._max_lag_s = max(self._max_lag_s, lag_s)
        if monotonic() - self._since_s < SAMPLE_INTERVAL_S * 0.9:  # a timer may fire early
            return
        self._recent_max_s.append(self._max_lag_s)
        LAG_S.set(max(self._recent_max_s))
        LIVE.set(self._delivery.live)
        OPEN_UPSTREAMS.set(self._open_upstreams())
        READY.set(self._delivery.ready)
        HEARTBEAT_AGE_S.set(self._delivery.heartbeat_age_s)
        now = asdict(self._delivery.counters)
        for event, count in now.items():
            STORE.labels(event).inc(count - self._before[event])
        self._log(lost=now["lost"] > self._before["lost"])
        self._before, self._since_s, self._max_lag_s = now, monotonic(), 0.0

    def _log(self, *, lost: bool) -> None:
        ready = self._delivery.ready
        if not self._store_lost and (lost or not ready):
            self._store_lost = True
            reason = self._delivery.last_error or "no heartbeat was received"
            LOG.warning("store lost: an abort might not reach this worker: %s", reason)
        if self._store_lost and ready:
            self._store_lost = False
            LOG.warning("store back: every abort that was accepted has been delivered")
