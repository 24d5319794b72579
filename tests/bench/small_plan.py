"""A record of plan.json whose costs and paths are known: each load is computed from the model itself."""

from __future__ import annotations

from dataclasses import replace

from bench.analysis.plan_costs import Cost
from bench.analysis.plan_fit import Path, wait_of
from bench.record.host import describe_host
from bench.record.manifest import Host, ScenarioSettings
from bench.record.plan import FIT, PlanFanout, PlanHeld, PlanKnee, PlanLoad, PlanRecord, PlanStrategy
from bench.stats.queueing import mean_wait
from bench.workload.plan import delivery_of, store_of

CORES, WORKERS, GAP_MS, KNEE = 2, 2, 20.0, 200.0
CPU_S = Cost(2e-3, 50e-6, 1e-3, 0.004)
STORE_CPU_S, STORE_OPS = Cost(100e-6, 0.0, 50e-6, 0.001), Cost(5.0, 0.0, 3.0, 2.0)
POLL_CPU_S, POLL_OPS = Cost(100e-6, 10e-6, 50e-6, 0.001), Cost(5.0, 1.0, 3.0, 2.0)
OTHERS_S = Cost(1e-3, 20e-6, 1e-3, 0.1)
"""CPU time of load and mock."""
MIX = (1.0, 40.0, 0.9)
"""Chats, chunks and stops per chat at 30 % of the knee and at the checks."""


def path_of(strategy: str) -> Path:
    """Stops: 1 ms fixed, and the wait for a core that runs jobs of 2 ms; the machine is the busiest station."""
    costs = (CPU_S, OTHERS_S, POLL_CPU_S if delivery_of(strategy) == "poll" else STORE_CPU_S)
    busy_s, idle = (sum(each) / CORES for each in ([x.of(*MIX) for x in costs], [x.per_s for x in costs]))
    return Path(wait_of(strategy, GAP_MS), 1.0, 2.0, CORES, busy_s, idle)


def load(strategy: str, name: str, rate: float, per_chat: tuple[float, float, float]) -> PlanLoad:
    """400 chats at this rate."""
    path, polls, seconds = path_of(strategy), delivery_of(strategy) == "poll", 400 / rate
    chats, chunks, stops = (round(400 * each) for each in per_chat)
    stopped, queued_ms = bool(stops), mean_wait(path.job_ms, CORES, path.utilisation(rate))
    return PlanLoad(
        name=name,
        chats_per_s=rate,
        chats=chats,
        chunks=chunks,
        stops=stops,
        seconds=seconds,
        service_cpu_s=CPU_S.of(chats, chunks, stops, seconds),
        others_cpu_s=OTHERS_S.of(chats, chunks, stops, seconds),
        store_cpu_s=(POLL_CPU_S if polls else STORE_CPU_S).of(chats, chunks, stops, seconds),
        store_ops=round((POLL_OPS if polls else STORE_OPS).of(chats, chunks, stops, seconds)),
        stop_mean_ms=path.wait_ms / 2 + path.fixed_ms + queued_ms if stopped else None,
        path_mean_ms=path.fixed_ms + queued_ms if stopped else None,
        path_p95_ms=replace(path, wait_ms=0.0).quantile_ms(0.95, rate) if stopped else None,
        stop_p95_ms=path.quantile_ms(0.95, rate) if stopped else None,
    )


def strategy(name: str, knee: float = KNEE) -> PlanStrategy:
    """A strategy whose measured knee is that of the model."""
    rates = {FIT: 0.3, "60": 0.6, "80": 0.8, "100": 1.0}
    loads = [load(name, each, share * knee, MIX) for each, share in rates.items()]
    loads += [load(name, "long", 8.0, (1.0, 300.0, 0.0)), load(name, "short", 60.0, (1.0, 10.0, 0.0))]
    limit_ms = path_of(name).quantile_ms(0.99, knee)
    held = PlanHeld(
        streams=200, kb_per_stream=64.0, worker_mb=100.0, connections=2 * WORKERS, cpu_ms_per_s=4.0, ops_per_s=2.0,
        store_cpu_ms_per_s=1.0,
    )  # fmt: skip
    measured = PlanKnee(chats_per_s=knee, limit_ms=limit_ms, ended_by="slow")
    return PlanStrategy(strategy=name, workers=WORKERS, knee=measured, held=held, loads=loads)


def plan_record(*names: str, here: bool = True) -> PlanRecord:
    """Measured on this machine, or on another one."""
    kinds = list(dict.fromkeys(store_of(name) or "" for name in names))
    costs = {"redis": [5.0, 20.0, 68.0], "postgres": [50.0, 200.0, 680.0]}
    host = describe_host() if here else Host(cpus=CORES, cpu="Other", system="Linux 1", memory_gb=4.0)
    host.cpus = CORES
    return PlanRecord(
        started_utc="2026-11-29T01:02:03Z",
        commit="0123456789abcdef",
        host=host,
        scenario=ScenarioSettings(itl_ms=GAP_MS),
        strategies=[strategy(name) for name in names],
        fanout=[
            PlanFanout(store=kind, listeners=[1, 16, 64], cpu_us=costs[kind], per_s=[10_000, 5_000, 2_000], senders=8)
            for kind in kinds
        ],
    )
