"""What silent streams cost a service: memory, connections to the store, and work by the clock."""

import psutil

from bench.record.plan import PlanHeld
from bench.run.idle import SILENT, measure_idle
from bench.run.target_process import Attached
from bench.system.http import AnswerError, held_open
from bench.system.procs import Child, ChildError
from bench.system.stores import Store

STREAMS, QUICK_STREAMS = 200, 40


def measure_held(service: Child | Attached, store: Store | None, workers: int, *, quick: bool) -> PlanHeld:
    """Measure the service before it had any load. Raises ChildError when it cannot chat."""
    assert isinstance(service, Child)  # noqa: S101 - ours; only foreign targets are attached
    streams = QUICK_STREAMS if quick else STREAMS
    try:
        idle = measure_idle(service, store)
        empty_mb = _resident_mb(service)
        with held_open(service.url, streams, SILENT):
            full_mb = _resident_mb(service)
    except (OSError, AnswerError) as error:
        service.check()
        raise ChildError(f"{service.name} cannot chat: {error}; its log is {service.log}") from error
    return PlanHeld(
        streams=streams,
        kb_per_stream=round(max(0.0, full_mb - empty_mb) * 1024 / streams, 1),
        worker_mb=round(empty_mb / workers, 1),
        connections=store.connections() if store else None,
        cpu_ms_per_s=idle.idle_cpu_ms_per_s,
        ops_per_s=idle.idle_ops_per_s,
        store_cpu_ms_per_s=idle.idle_store_cpu_ms_per_s,
    )


def _resident_mb(service: Child) -> float:
    """Resident memory of all workers, MiB: of the supervisor's children, or of the process itself without any."""
    root = psutil.Process(service.process.pid)
    return sum(process.memory_info().rss for process in root.children(recursive=True) or [root]) / 2**20
