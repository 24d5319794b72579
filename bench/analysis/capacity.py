"""What a demand of streams needs: workers, cores, memory, connections and store load of each strategy; pure.

Live streams and rates: Little's law, L = rate x time (Little, Operations Research 9, 1961).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.analysis.plan_costs import Cost
from bench.analysis.plan_fit import Fit, bisect, fit, wait_of
from bench.record.plan import PlanFanout, PlanRecord
from bench.workload.plan import store_of
from bench.workload.scenario import PlanError

GLOBAL = "redis-push, global"
"""redis-push as it would be if every abort went to all workers over one channel; ours goes to its owner alone."""
LIMITS: Mapping[str, tuple[float, float, str]] = {
    "streams": (1, 1e9, "--streams"), "tokens_per_s": (0.01, 1e4, "--tokens-per-s"),
    "answer_s": (0.1, 86_400, "--answer-s"), "abort_share": (0, 1, "--abort-share"),
    "utilisation": (0.05, 0.95, "--utilisation"), "postgres_cores": (1, 1024, "--postgres-cores"),
}  # fmt: skip
NO_RELAY: Mapping[str, float] = {}
MOST_STREAMS = LIMITS["streams"][1]


@dataclass(frozen=True)
class Demand:
    """Live streams at one time, what each receives, its length if it is not stopped, and the share that is stopped.

    `utilisation` is that of each worker's core; `postgres_cores` those of one PostgreSQL server. Raises PlanError.
    """

    streams: float
    tokens_per_s: float
    answer_s: float
    abort_share: float
    utilisation: float = 0.6
    postgres_cores: float = 16

    def __post_init__(self) -> None:
        for name, (low, high, option) in LIMITS.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise PlanError(f"{option} is {value:g}: choose from {low:g} to {high:g}")

    @property
    def chats_per_s(self) -> float:
        """Rate of chats; stops fall evenly over an answer, so a stopped one lasts half of it on average."""
        return self.streams / (self.answer_s * (1 - self.abort_share / 2))

    @property
    def stops_per_s(self) -> float:
        """Rate of aborts."""
        return self.chats_per_s * self.abort_share

    @property
    def chunks_per_s(self) -> float:
        """Rate of chunks, one token each."""
        return self.streams * self.tokens_per_s

    def with_streams(self, streams: float) -> Demand:
        """The same for another number of streams."""
        return replace(self, streams=streams)


@dataclass(frozen=True)
class Need:
    """What one strategy needs for a demand; None where it was not measured.

    `store_load`: share of one store server, which is full at 1. `full_at`: the streams at which it is.
    """

    strategy: str
    workers: int
    memory_gb: float
    store_connections: int | None
    store_ops_per_s: float | None
    store_cores: float | None
    store_load: float | None
    full_at: float | None
    stop_p95_ms: float

    @property
    def store_servers(self) -> int | None:
        """Store servers that share the load, if it can be divided among them."""
        return None if self.store_load is None else max(1, math.ceil(self.store_load))


@dataclass(frozen=True)
class Model:
    """The fitted strategies, the cost of a message by number of listeners, and the most live streams measured."""

    fits: Sequence[Fit]
    fanout: Mapping[str, PlanFanout]
    measured_streams: Mapping[str, float]

    def needs(self, demand: Demand) -> list[Need]:
        """The needs of all strategies, and those of redis-push with one channel for all workers."""
        return [self._need(self._fit(name), demand, everyone=name == GLOBAL) for name in self.names]

    @property
    def names(self) -> list[str]:
        """The strategies, and GLOBAL where it is known."""
        found = [each.strategy for each in self.fits]
        return [*found, GLOBAL] if "redis-push" in found and "redis" in self.fanout else found

    def store_load(self, name: str, demand: Demand) -> float | None:
        """Share of one store server that a strategy (or GLOBAL) needs; None without a measured store."""
        return self._store(self._fit(name), demand, everyone=name == GLOBAL)[0]

    def full_at(self, name: str, demand: Demand) -> float | None:
        """The streams at which one store server is full; None if not below the most that can be asked for."""

        def fits(exponent: float) -> bool:
            return (self.store_load(name, demand.with_streams(10**exponent)) or 0.0) < 1

        most = math.log10(MOST_STREAMS)
        return None if fits(most) else float(10 ** bisect(fits, 0.0, most))

    def _fit(self, name: str) -> Fit:
        wanted = "redis-push" if name == GLOBAL else name
        return next(each for each in self.fits if each.strategy == wanted)

    def _need(self, found: Fit, demand: Demand, *, everyone: bool) -> Need:
        workers, held, ops = workers_for(found, demand), found.held, found.store_ops
        load, cores = self._store(found, demand, everyone=everyone)
        path = replace(found.path, wait_ms=wait_of(found.strategy, 1000 / demand.tokens_per_s), servers=1)
        name = GLOBAL if everyone else found.strategy
        return Need(
            strategy=name,
            workers=workers,
            memory_gb=(demand.streams * held.kb_per_stream / 1024 + workers * held.worker_mb) / 1024,
            store_connections=None if held.connections is None else round(held.connections / found.workers * workers),
            store_ops_per_s=None if ops is None else _rate(ops, demand, workers / found.workers),
            store_cores=cores,
            store_load=load,
            full_at=self.full_at(name, demand),
            stop_p95_ms=path.at(0.95, demand.utilisation),
        )

    def _store(self, found: Fit, demand: Demand, *, everyone: bool) -> tuple[float | None, float | None]:
        """Share of one server, and its cores: Redis runs its commands on one core, PostgreSQL on as many as it has."""
        if found.store_cpu_s is None:
            return None, None
        workers, fanout = workers_for(found, demand), self.fanout.get(store_of(found.strategy) or "")
        cores = _rate(found.store_cpu_s, demand, workers / found.workers)
        notified = found.strategy == "postgres-push"
        if fanout and (everyone or notified):
            further = max(0, workers - (1 if everyone else found.workers))
            cores += demand.stops_per_s * further * _line(fanout.listeners, fanout.cpu_us)[1] / 1e6
        if store_of(found.strategy) != "postgres":
            return cores, cores
        load = cores / demand.postgres_cores
        if fanout and notified:  # one transaction with a NOTIFY commits at a time
            load = max(load, demand.stops_per_s * notify_s(fanout, workers))
        return load, cores


def workers_for(found: Fit, demand: Demand) -> int:
    """Workers of one core each, busy for `utilisation` of the time: streams, and what a worker does by the clock."""
    work = _rate(replace(found.cpu_at(demand.utilisation), per_s=0.0), demand)
    return max(1, math.ceil(work / max(demand.utilisation - found.cpu_s.per_s / found.workers, 0.01)))


def notify_s(fanout: PlanFanout, workers: int) -> float:
    """Time per NOTIFY with this many listening workers, one after the other: a line through the measured ones."""
    least, each = _line(fanout.listeners, [1 / rate for rate in fanout.per_s])
    return least + each * workers


def model_of(record: PlanRecord, busy_chunk_us: Mapping[str, float] = NO_RELAY) -> Model:
    """The model of a record. Strategies that could not be loaded are left out.

    `busy_chunk_us`: CPU time per chunk of a worker that is never idle, by strategy, from `bench relay`.
    """
    gap_ms, cores = float(record.scenario.itl_ms), record.host.cpus or 1
    live = {
        each.strategy: max((load.chunks / load.seconds * gap_ms / 1000 for load in each.loads), default=0.0)
        for each in record.strategies
    }
    live[GLOBAL] = live.get("redis-push", 0.0)
    fits = [
        found
        for each in record.strategies
        if (found := fit(each, gap_ms, cores, _busy_chunk_s(each.strategy, busy_chunk_us)))
    ]
    return Model(fits, {each.store: each for each in record.fanout}, live)


def _busy_chunk_s(strategy: str, known: Mapping[str, float]) -> float | None:
    """That of a poll itself, and that of redis-push for all others: no store takes part when they relay a chunk."""
    found = known.get(strategy if strategy.endswith("poll") else "redis-push")
    return None if found is None else found / 1e6


def _rate(cost: Cost, demand: Demand, times_workers: float = 1.0) -> float:
    """Per second; `times_workers`: how many times the workers that were measured."""
    return cost.of(demand.chats_per_s, demand.chunks_per_s, demand.stops_per_s, times_workers)


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Intercept and slope of the least-squares line, neither below 0; a constant from one point, 0 from none."""
    if len(x) < 2 or not y:
        return (y[0] if y else 0.0), 0.0
    slope, intercept = np.polyfit(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 1)
    return max(float(intercept), 0.0), max(float(slope), 0.0)
