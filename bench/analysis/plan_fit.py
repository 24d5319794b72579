"""What a measured strategy costs, and how its stops get slower with the load: fitted at 30 % of the knee; pure.

Utilisation law: a station that spends D seconds of CPU time per chat is busy for rate x D (Denning and Buzen, The
Operational Analysis of Queueing Network Models, ACM Computing Surveys 10, 1978). The queue: bench/stats/queueing.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from bench.record.plan import FIT, VALIDATIONS, PlanHeld, PlanLoad, PlanStrategy
from bench.stats.queueing import mean_wait, stop_quantile
from bench.workload.plan import delivery_of

TIMER_MS = 100.0
"""The service's default ABORT_INTERVAL_MS."""
LEAST_BUSY, MOST_BUSY = 0.25, 0.95
"""Limits of the station's utilisation at 30 % of the knee. Below the first, fewer than 5 % of the stops wait for one of
two cores, and their p95 does not show for how long."""
FIT_WEIGHT = 10.0
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
    """A stop: a uniform wait of 0 to `wait_ms`, `fixed_ms`, and the wait for a core that runs jobs of `job_ms`.

    Its station is the busiest one: all `servers` cores, shared by all processes, or the one core of a worker. `busy_s`
    is the station's time per chat and core, `idle` its utilisation without a chat.
    """

    wait_ms: float
    fixed_ms: float
    job_ms: float
    servers: int
    busy_s: float
    idle: float = 0.0

    def quantile_ms(self, share: float, chats_per_s: float) -> float:
        """Quantile of the stops at this rate; infinite where the station is full."""
        return self.at(share, self.utilisation(chats_per_s))

    def utilisation(self, chats_per_s: float) -> float:
        """Of the station at this rate."""
        return self.idle + chats_per_s * self.busy_s

    def at(self, share: float, utilisation: float) -> float:
        """The same at a given utilisation of the station."""
        times = {"wait": self.wait_ms, "fixed": self.fixed_ms, "service": self.job_ms}
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


Floats = NDArray[np.float64]
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
    store_cpu_s = _store_cost(
        rows, lambda each: each.store_cpu_s, (held.store_cpu_ms_per_s or 0) / 1e3, chunks=delivery != "push"
    )
    costs = [each for each in (cpu_s, store_cpu_s, _others(rows)) if each]
    return Fit(
        strategy=measured.strategy,
        workers=measured.workers,
        cpu_s=cpu_s,
        store_cpu_s=store_cpu_s,
        store_ops=_store_cost(rows, lambda each: each.store_ops, held.ops_per_s or 0, chunks=delivery == "poll"),
        held=held,
        path=_path(at_30, wait_of(measured.strategy, gap_ms), _station(at_30, costs, measured.workers, cores)),
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


def _path(load: PlanLoad, wait_ms: float, station: tuple[int, float, float]) -> Path:
    """Split the stop at this load into a wait, the queue's part, and the rest, which is fixed.

    The queue's jobs are so long that the path, the stop without its wait, has the measured p95. `station`: its cores,
    its time per chat and core, and its utilisation without a chat.
    """
    path_ms, p95_ms = load.path_mean_ms or 0.0, load.path_p95_ms or 0.0
    servers, busy_s, idle = station
    utilisation = min(max(idle + load.chats_per_s * busy_s, LEAST_BUSY), MOST_BUSY)
    per_job = mean_wait(1.0, servers, utilisation)

    def p95_of(queued_ms: float) -> float:
        return Path(0.0, path_ms - queued_ms, queued_ms / per_job, *station).at(0.95, utilisation)

    queued_ms = _bisect(lambda queued_ms: p95_of(queued_ms) < p95_ms, 0.0, path_ms)
    fixed_ms = max(0.0, (load.stop_mean_ms or 0.0) - wait_ms / 2 - queued_ms)
    return Path(wait_ms, fixed_ms, queued_ms / per_job, *station)


def _station(load: PlanLoad, costs: Sequence[Cost], workers: int, cores: int) -> tuple[int, float, float]:
    """The busiest station at this load's mix: cores, time per chat and core, utilisation without a chat.

    `costs` in CPU seconds: the service's first, then those of all others on the machine.
    """
    mix = (1.0, load.chunks / load.chats, load.stops / load.chats)
    machine = cores, sum(each.of(*mix) for each in costs) / cores, sum(each.per_s for each in costs) / cores
    worker = 1, costs[0].of(*mix) / workers, costs[0].per_s / workers
    return max(machine, worker, key=lambda station: station[2] + load.chats_per_s * station[1])


def _cost(rows: Sequence[PlanLoad], value: Amount, per_s: float, *, chunks: bool = True) -> Cost:
    """Per chat, chunk and stop, beside what the clock causes.

    `chunks`: whether chunks may cost something; a demand has more of them than the loads, so noise would be multiplied.
    """
    known = [(each, amount) for each in rows if (amount := value(each)) is not None]
    work = np.array([[each.chats, each.chunks * chunks, each.stops] for each, _amount in known], dtype=float)
    amounts = [max(amount - per_s * each.seconds, 0.0) for each, amount in known]
    return Cost(*_solve([each for each, _amount in known], work, amounts), per_s)


def _others(rows: Sequence[PlanLoad]) -> Cost:
    """CPU time of load and mock; an abort, one more request, costs them what a chat does."""
    work = np.array([[each.chats + each.stops, each.chunks, each.seconds] for each in rows], dtype=float)
    request, chunk, second = _solve(rows, work, [each.others_cpu_s for each in rows])
    return Cost(request, chunk, request, second)


def _solve(rows: Sequence[PlanLoad], work: Floats, amounts: Sequence[float]) -> list[float]:
    """Costs that are not negative, by least squares of the relative errors (Lawson and Hanson's NNLS).

    The load at 30 % of the knee counts most: the other two only divide its sum.
    """
    weights = np.array([FIT_WEIGHT if each.name == FIT else 1.0 for each in rows]) / np.maximum(amounts, 1e-9)
    scale = work.max(axis=0).clip(min=1.0)
    found, _residual = nnls(work / scale * weights[:, None], np.asarray(amounts) * weights)
    return [float(each) for each in found / scale]


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
