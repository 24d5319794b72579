"""What a measured strategy costs, and how its stops get slower with the load: fitted at 30 % of the knee; pure.

Utilisation law: a station that spends D seconds of CPU time per chat is busy for rate x D (Denning and Buzen, The
Operational Analysis of Queueing Network Models, ACM Computing Surveys 10, 1978). The rest is bench/stats/queueing.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from bench.record.plan import FIT, VALIDATIONS, PlanHeld, PlanLoad, PlanStrategy
from bench.stats.queueing import mean_time, stop_quantile
from bench.workload.plan import delivery_of

TIMER_MS = 100.0
"""The service's default ABORT_INTERVAL_MS."""
MOST_BUSY = 0.95
"""Of the station at 30 % of the knee: what was measured as more is taken for noise."""
STEPS = 60
"""Of a bisection: more than a double can resolve."""


@dataclass(frozen=True)
class Cost:
    """Of one resource: per chat, chunk and stop, and per second of all workers that were measured."""

    per_chat: float
    per_chunk: float
    per_stop: float
    per_s: float = 0.0

    def of(self, chats: float, chunks: float, stops: float, seconds: float = 0.0) -> float:
        """What this much work costs."""
        return self.per_chat * chats + self.per_chunk * chunks + self.per_stop * stops + self.per_s * seconds


@dataclass(frozen=True)
class Path:
    """A stop: a uniform wait of 0 to `wait_ms`, `fixed_ms`, and `service_ms` at a queue with this many servers.

    The queue is the busiest station: the cores that all processes share, or the one core of a worker. `busy_s` is its
    time per chat and server.
    """

    wait_ms: float
    fixed_ms: float
    service_ms: float
    servers: int
    busy_s: float

    def quantile_ms(self, share: float, chats_per_s: float) -> float:
        """Quantile of the stops at this rate; infinite where the station is full."""
        return self.at(share, chats_per_s * self.busy_s)

    def at(self, share: float, utilisation: float) -> float:
        """The same at a given utilisation of the station."""
        times = {"wait": self.wait_ms, "fixed": self.fixed_ms, "service": self.service_ms}
        return stop_quantile(share, **times, servers=self.servers, utilisation=utilisation)

    def knee_per_s(self, limit_ms: float) -> float:
        """The rate at which the p99 reaches the limit."""
        return _bisect(lambda rate: self.quantile_ms(0.99, rate) < limit_ms, 0.0, 1 / self.busy_s)


@dataclass(frozen=True)
class Fit:
    """A strategy's costs and path. CPU times in seconds; the store's are None where they were not measured."""

    strategy: str
    workers: int
    cpu_s: Cost
    store_cpu_s: Cost | None
    store_ops: Cost | None
    held: PlanHeld
    path: Path


@dataclass(frozen=True)
class Check:
    """What the model predicts at one validation load and what was measured; None where a side is unknown."""

    name: str
    predicted: float | None
    measured: float | None

    @property
    def error(self) -> float | None:
        """(predicted - measured) / measured."""
        if self.predicted is None or not self.measured:
            return None
        return self.predicted / self.measured - 1


Amount = Callable[[PlanLoad], float | None]
Checks = Mapping[str, Sequence[Check]]


def wait_of(strategy: str, gap_ms: float) -> float:
    """The longest time until a delivery reads the flag, `gap_ms` being the time between two tokens."""
    return {"poll": gap_ms, "timer": TIMER_MS}.get(delivery_of(strategy) or "", 0.0)


def fit(measured: PlanStrategy, gap_ms: float, cores: int) -> Fit | None:
    """The costs and the path of a strategy; None if it was not loaded. No validation load is used."""
    loads = {each.name: each for each in measured.loads}
    held, at_30 = measured.held, loads.get(FIT)
    if held is None or at_30 is None or at_30.stop_mean_ms is None or at_30.path_p95_ms is None:
        return None
    rows = [each for each in measured.loads if each.name not in VALIDATIONS]
    cpu_s = _cost(rows, lambda each: each.service_cpu_s, (held.cpu_ms_per_s or 0) / 1e3)
    delivery = delivery_of(measured.strategy)
    return Fit(
        strategy=measured.strategy,
        workers=measured.workers,
        cpu_s=cpu_s,
        store_cpu_s=_store_cost(
            rows, lambda each: each.store_cpu_s, (held.store_cpu_ms_per_s or 0) / 1e3, chunks=delivery != "push"
        ),
        store_ops=_store_cost(rows, lambda each: each.store_ops, held.ops_per_s or 0, chunks=delivery == "poll"),
        held=held,
        path=_path(at_30, wait_of(measured.strategy, gap_ms), measured.workers, cores),
    )


def checks(measured: PlanStrategy, found: Fit) -> Checks:
    """`p95` (ms) and `cpu` (service, s) at each validation load, and `knee` (chats/s), predicted and measured."""
    loads = {each.name: each for each in measured.loads if each.name in VALIDATIONS}
    p95 = [
        Check(name, _finite(found.path.quantile_ms(0.95, each.chats_per_s)), each.stop_p95_ms)
        for name, each in loads.items()
    ]
    cpu = [
        Check(name, found.cpu_s.of(each.chats, each.chunks, each.stops, each.seconds), each.service_cpu_s)
        for name, each in loads.items()
    ]
    knee = Check("knee", found.path.knee_per_s(measured.knee.limit_ms), measured.knee.chats_per_s)
    return {"p95": p95, "cpu": cpu, "knee": [knee]}


def _path(load: PlanLoad, wait_ms: float, workers: int, cores: int) -> Path:
    """Split the stop at this load into a wait, a queued part and the rest, which is fixed.

    The queued part is the one that gives the path, the stop without its wait, the measured p95.
    """
    path_ms, p95_ms = load.path_mean_ms or 0.0, load.path_p95_ms or 0.0
    total_s = load.service_cpu_s + load.others_cpu_s + (load.store_cpu_s or 0.0)
    stations = [(cores, total_s / load.chats / cores), (1, load.service_cpu_s / load.chats / workers)]
    servers, busy_s = max(stations, key=lambda station: station[1])
    utilisation = min(load.chats_per_s * busy_s, MOST_BUSY)
    factor = mean_time(1.0, servers, utilisation)

    def p95_of(share: float) -> float:
        queued_ms = share * path_ms
        return Path(0.0, path_ms - queued_ms, queued_ms / factor, servers, busy_s).at(0.95, utilisation)

    queued_ms = path_ms * _bisect(lambda share: p95_of(share) < p95_ms, 0.0, 1.0)
    fixed_ms = max(0.0, (load.stop_mean_ms or 0.0) - wait_ms / 2 - queued_ms)
    return Path(wait_ms, fixed_ms, queued_ms / factor, servers, busy_s)


def _cost(rows: Sequence[PlanLoad], value: Amount, per_s: float, *, chunks: bool = True) -> Cost:
    """Least squares of the relative errors, without negative costs (Lawson and Hanson's NNLS).

    `chunks`: whether chunks may cost something; a demand has more of them than the loads, so noise would be multiplied.
    """
    known = [(each, amount) for each in rows if (amount := value(each)) is not None]
    work = np.array([[each.chats, each.chunks * chunks, each.stops] for each, _amount in known], dtype=float)
    amounts = np.array([max(amount - per_s * each.seconds, 0.0) for each, amount in known])
    weights = 1 / np.array([max(amount, 1e-9) for _each, amount in known])
    scale = work.max(axis=0).clip(min=1.0)
    found, _residual = nnls(work / scale * weights[:, None], amounts * weights)
    per_chat, per_chunk, per_stop = (float(each) for each in found / scale)
    return Cost(per_chat, per_chunk, per_stop, per_s)


def _store_cost(rows: Sequence[PlanLoad], value: Amount, per_s: float, *, chunks: bool) -> Cost | None:
    """A push costs its store nothing per chunk; a timer reads by the clock, but the longer the more streams it has."""
    return _cost(rows, value, per_s, chunks=chunks) if any(value(each) is not None for each in rows) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _bisect(below: Callable[[float], bool], low: float, high: float) -> float:
    """The largest value from low to high at which `below` still holds, which does up to some value."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return low
