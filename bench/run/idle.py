"""What a strategy costs while its streams are silent and no abort is sent."""

import time

from bench.record.manifest import IdleCost
from bench.system.http import held_open
from bench.system.procs import Child
from bench.system.stores import Store

STREAMS = 20
WINDOW_S = 1.0
LATE_WINDOW_S = 3.0
"""PostgreSQL's backends report what they do once a second (PGSTAT_MIN_INTERVAL): at both ends of the window."""
LAST_REPORT_S = 10.5
"""What one did just before it fell silent is reported after 10 s (PGSTAT_IDLE_INTERVAL)."""
SILENT = "[mock:ttft_ms=5,itl_ms=5,output_tokens=3,stall_at=1,stall_ms=30000]"


def measure_idle(
    service: Child, store: Store | None, *, streams: int = STREAMS, window_s: float | None = None
) -> IdleCost:
    """Hold silent streams open for a while, and read the counters before and after.

    Raises AnswerError or OSError when the service cannot chat.
    """
    late = store is not None and store.kind == "postgres"
    window_s = window_s or (LATE_WINDOW_S if late else WINDOW_S)
    with held_open(service.url, streams, SILENT):
        if late:
            time.sleep(LAST_REPORT_S)  # what registering the chats cost is reported by now
        began_ns, before = time.monotonic_ns(), _seen(service, store)
        time.sleep(window_s)
        after, took_s = _seen(service, store), (time.monotonic_ns() - began_ns) / 1e9
    ops, cpu_s, store_cpu_s = (
        None if one is None or other is None else max(0.0, other - one) / took_s
        for one, other in zip(before, after, strict=True)
    )
    return IdleCost(
        streams=streams,
        window_s=window_s,
        idle_ops_per_s=None if ops is None else round(ops, 2),
        idle_cpu_ms_per_s=None if cpu_s is None else round(1000 * cpu_s, 3),
        idle_store_cpu_ms_per_s=None if store_cpu_s is None else round(1000 * store_cpu_s, 3),
    )


def _seen(service: Child, store: Store | None) -> tuple[float | None, float | None, float | None]:
    """Store operations, CPU seconds of the service and of the store's server; the looking itself costs the store."""
    cpu_s = service.cpu_s()
    store_cpu_s = store.cpu_s() if store else None
    return store.ops() if store else None, cpu_s, store_cpu_s
