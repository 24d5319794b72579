"""What a measured strategy costs, and how its stops get slower with the load: fitted at 30 % of the knee; pure.

Utilisation law: a station that spends D seconds of CPU time per chat is busy for rate x D (Denning and Buzen, The
Operational Analysis of Queueing Network Models, ACM Computing Surveys 10, 1978). The queue: bench/stats/queueing.py.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.analysis.plan_costs import Cost, cost_of, cost_of_others, store_cost
from bench.record.plan import FIT, VALIDATIONS, PlanHeld, PlanLoad, PlanStrategy
from bench.stats.queueing import mean_wait, stop_quantile, wakeups
from bench.workload.plan import delivery_of

TIMER_MS = 100.0
"""The service's default ABORT_INTERVAL_MS."""
LEAST_BUSY, MOST_BUSY = 0.25, 0.95
"""Limits of the station's utilisation at 30 % of the knee. Below the first, fewer than 5 % of the stops wait for one of
two cores, and their p95 does not show for how long."""
STEPS = 60
"""Of a bisection: more than a double can resolve."""


@dataclass(frozen=True)
class Path:
    """A stop: a uniform wait of 0 to `wait_ms`, `fixed_ms`, and the wait for a core that runs jobs of `job_ms`.

    Its station is the busiest one: all `servers` cores, shared by all processes, or the one core of a worker. `busy_s`
    is the station's time per chat and core at 30 % of the knee, `idle` its utilisation without a chat. `saved_s` of
    that time are saved when no chunk needs a wake-up of its own; `at_30`: utilisation at 30 % of the knee.
    """

    wait_ms: float
    fixed_ms: float
    job_ms: float
    servers: int
    busy_s: float
    idle: float = 0.0
    saved_s: float = 0.0
    at_30: float = 0.0

    def quantile_ms(self, share: float, chats_per_s: float) -> float:
        """Quantile of the stops at this rate; infinite where the station is full."""
        return self.at(share, self.utilisation(chats_per_s))

    def utilisation(self, chats_per_s: float) -> float:
        """Of the station at this rate; 1 or more: it is full."""

        def above(utilisation: float) -> bool:
            used_s = self.busy_s - self.saved_s * fewer_wakeups(utilisation, self.at_30)
            return self.idle + chats_per_s * used_s > utilisation

        return bisect(above, 0.0, 1.0 + self.idle + chats_per_s * self.busy_s)

    def at(self, share: float, utilisation: float) -> float:
        """The same at a given utilisation of the station."""
        times = {"wait": self.wait_ms, "fixed": self.fixed_ms, "service": self.job_ms}
        return stop_quantile(share, **times, servers=self.servers, utilisation=utilisation)

    def knee_per_s(self, limit_ms: float) -> float:
        """The rate at which the p99 reaches the limit."""
        return bisect(lambda rate: self.quantile_ms(0.99, rate) < limit_ms, 0.0, 1 / (self.busy_s - self.saved_s))


@dataclass(frozen=True)
class Fit:
    """A strategy's costs and path. CPU times in seconds; the store's are None where they were not measured.

    `cpu_s` is that at 30 % of the knee; `busy_chunk_s`: cost of a chunk for a worker that is never idle, if known.
    """

    strategy: str
    workers: int
    cpu_s: Cost
    store_cpu_s: Cost | None
    store_ops: Cost | None
    held: PlanHeld
    path: Path
    busy_chunk_s: float | None = None

    def cpu_at(self, utilisation: float) -> Cost:
        """Service CPU at another utilisation: the busier a worker, the more chunks it relays per wake-up."""
        if self.busy_chunk_s is None:
            return self.cpu_s
        saved_s = max(0.0, self.cpu_s.per_chunk - self.busy_chunk_s) * fewer_wakeups(utilisation, self.path.at_30)
        return replace(self.cpu_s, per_chunk=self.cpu_s.per_chunk - saved_s)


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


Checks = Mapping[str, Sequence[Check]]


def fewer_wakeups(utilisation: float, than_at: float) -> float:
    """Share of the wake-ups per chunk that are saved at a utilisation, compared with another one."""
    return 1 - wakeups(utilisation) / wakeups(min(than_at, MOST_BUSY))


def wait_of(strategy: str, gap_ms: float) -> float:
    """The longest time until a delivery reads the flag, `gap_ms` being the time between two tokens."""
    return {"poll": gap_ms, "timer": TIMER_MS}.get(delivery_of(strategy) or "", 0.0)


def fit(measured: PlanStrategy, gap_ms: float, cores: int, busy_chunk_s: float | None = None) -> Fit | None:
    """The costs and the path of a strategy; None if it was not loaded. No validation load is used."""
    loads = {each.name: each for each in measured.loads}
    held, at_30 = measured.held, loads.get(FIT)
    if held is None or at_30 is None or at_30.stop_mean_ms is None or at_30.path_p95_ms is None:
        return None
    rows = [each for each in measured.loads if each.name not in VALIDATIONS]
    cpu_s = cost_of(rows, lambda each: each.service_cpu_s, (held.cpu_ms_per_s or 0) / 1e3)
    delivery = delivery_of(measured.strategy)
    store_cpu_s = store_cost(
        rows, lambda each: each.store_cpu_s, (held.store_cpu_ms_per_s or 0) / 1e3, chunks=delivery != "push"
    )
    costs = [each for each in (cpu_s, store_cpu_s, cost_of_others(rows)) if each]
    station = _station(at_30, costs, measured.workers, cores)
    if busy_chunk_s is not None:
        share = 1 / (cores if station.servers == cores else measured.workers)
        saved_s = max(0.0, cpu_s.per_chunk - busy_chunk_s) * at_30.chunks / at_30.chats * share
        station = replace(station, saved_s=saved_s)
    return Fit(
        strategy=measured.strategy,
        workers=measured.workers,
        cpu_s=cpu_s,
        store_cpu_s=store_cpu_s,
        store_ops=store_cost(rows, lambda each: each.store_ops, held.ops_per_s or 0, chunks=delivery == "poll"),
        held=held,
        path=_path(at_30, wait_of(measured.strategy, gap_ms), station),
        busy_chunk_s=busy_chunk_s,
    )


def checks(measured: PlanStrategy, found: Fit) -> Checks:
    """`p95` (ms) and `cpu` (service, s) at each validation load, and `knee` (chats/s), predicted and measured."""
    loads = {each.name: each for each in measured.loads if each.name in VALIDATIONS}
    p95 = [
        Check(name, _finite(found.path.quantile_ms(0.95, each.chats_per_s)), each.stop_p95_ms)
        for name, each in loads.items()
    ]
    cpu = [
        Check(
            name,
            found.cpu_at(found.path.utilisation(each.chats_per_s)).of(
                each.chats, each.chunks, each.stops, each.seconds
            ),
            each.service_cpu_s,
        )
        for name, each in loads.items()
    ]
    knee = Check("knee", found.path.knee_per_s(measured.knee.limit_ms), measured.knee.chats_per_s)
    return {"p95": p95, "cpu": cpu, "knee": [knee]}


def _path(load: PlanLoad, wait_ms: float, station: Path) -> Path:
    """Split the stop at this load into a wait, the queue's part, and the rest, which is fixed.

    The queue's jobs are so long that the path, the stop without its wait, has the measured p95.
    """
    path_ms, p95_ms = load.path_mean_ms or 0.0, load.path_p95_ms or 0.0
    utilisation = min(max(station.at_30, LEAST_BUSY), MOST_BUSY)
    per_job = mean_wait(1.0, station.servers, utilisation)

    def split(queued_ms: float) -> Path:
        return replace(station, fixed_ms=path_ms - queued_ms, job_ms=queued_ms / per_job)

    queued_ms = bisect(lambda queued_ms: split(queued_ms).at(0.95, utilisation) < p95_ms, 0.0, path_ms)
    fixed_ms = max(0.0, (load.stop_mean_ms or 0.0) - wait_ms / 2 - queued_ms)
    return replace(split(queued_ms), wait_ms=wait_ms, fixed_ms=fixed_ms)


def _station(load: PlanLoad, costs: Sequence[Cost], workers: int, cores: int) -> Path:
    """The busiest station at this load's mix, as a path without times.

    `costs` in CPU seconds: the service's first, then those of all others on the machine.
    """
    mix = (1.0, load.chunks / load.chats, load.stops / load.chats)
    machine = cores, sum(each.of(*mix) for each in costs) / cores, sum(each.per_s for each in costs) / cores
    worker = 1, costs[0].of(*mix) / workers, costs[0].per_s / workers
    found = [
        Path(0.0, 0.0, 0.0, servers, busy_s, idle, at_30=idle + load.chats_per_s * busy_s)
        for servers, busy_s, idle in (machine, worker)
    ]
    return max(found, key=lambda station: station.at_30)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def bisect(below: Callable[[float], bool], low: float, high: float) -> float:
    """The largest value from low to high at which `below` still holds, which does up to some value."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return low
