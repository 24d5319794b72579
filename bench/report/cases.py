"""The cases of a summary: their statistics, which are comparable, which missed aborts, which is slowest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from bench.record.summary import Interval, SummaryCase
from bench.workload.strategies import strategy_rank

STOP = "upstream_stop_ms"
CPU = "server_cpu_us_per_token"
OPS = "store_ops_per_token"
WASTE = "wasted_tokens"


class Place(NamedTuple):
    """Cases of the same place can be compared."""

    scenario: str
    workers: int
    streams: int

    def __str__(self) -> str:
        workers = f"{self.workers} worker{'' if self.workers == 1 else 's'}"
        return f"{self.scenario}: {workers}, {self.streams} streams"

    @property
    def short(self) -> str:
        """`flowing, 2 w`."""
        return f"{self.scenario}, {self.workers} w"


def place_of(case: SummaryCase) -> Place:
    """Scenario, workers and streams of the case."""
    return Place(case.scenario, case.workers, case.streams)


def value_of(case: SummaryCase, metric: str = STOP, key: str = "p50") -> float | None:
    """A statistic of a metric; None where the case lacks it."""
    value: float | None = getattr(case.metrics.get(metric), key, None)
    return value


def interval_of(case: SummaryCase, metric: str = STOP, key: str = "p50") -> Interval | None:
    """The 95 % interval of a statistic; None where the case lacks it."""
    found = case.metrics.get(metric)
    ends: Interval | None = getattr(found.ci95, key, None) if found else None
    return ends


def median(case: SummaryCase, metric: str = STOP) -> float:
    """The median of a case that has one."""
    return value_of(case, metric) or 0.0


def ranked(cases: Iterable[SummaryCase], key: str = "p50") -> list[SummaryCase]:
    """The cases that have this statistic of the stop, shortest first."""
    timed = [(value, case) for case in cases if (value := value_of(case, key=key)) is not None]
    return [case for _value, case in sorted(timed, key=lambda pair: pair[0])]


def overlap(one: SummaryCase, other: SummaryCase, metric: str = STOP) -> bool:
    """Whether the 95 % intervals of the two medians overlap; cases without an interval do not."""
    mine, theirs = interval_of(one, metric), interval_of(other, metric)
    return bool(mine and theirs and mine[0] <= theirs[1] and theirs[0] <= mine[1])


def names_of(cases: Iterable[SummaryCase]) -> list[str]:
    """The strategies of the cases in the usual order."""
    return sorted({case.strategy for case in cases}, key=strategy_rank)


def without_misses(cases: Sequence[SummaryCase]) -> list[str]:
    """The strategies that missed no abort in any of these cases, in the usual order."""
    missing = {case.strategy for case in cases if case.missed}
    return [name for name in names_of(cases) if name not in missing]


def missed_of(cases: Iterable[SummaryCase], strategy: str) -> tuple[int, int]:
    """`(missed, aborts)` of this strategy over all the cases."""
    own = [case for case in cases if case.strategy == strategy]
    return sum(case.missed for case in own), sum(case.aborts for case in own)


def furthest(cases: Sequence[SummaryCase], key: str) -> tuple[float, SummaryCase, SummaryCase] | None:
    """`(ratio, quickest, slowest)` of the scenario in which this percentile of the stop differs most."""
    found = []
    for scenario in dict.fromkeys(case.scenario for case in cases):
        timed = ranked((case for case in cases if case.scenario == scenario), key)
        if len(timed) > 1 and (least := value_of(timed[0], key=key)):
            found.append(((value_of(timed[-1], key=key) or 0.0) / least, timed[0], timed[-1]))
    return max(found, key=lambda each: each[0], default=None)


def slowest(cases: Sequence[SummaryCase], strategies: Collection[str]) -> dict[str, SummaryCase]:
    """Strategy -> its case with the longest median stop, over the places where all these strategies have a median."""
    timed = [case for case in reversed(ranked(cases)) if case.strategy in strategies]
    having: dict[Place, set[str]] = {}
    for case in timed:
        having.setdefault(place_of(case), set()).add(case.strategy)
    found: dict[str, SummaryCase] = {}
    for case in timed:
        if having[place_of(case)] == set(strategies):
            found.setdefault(case.strategy, case)
    return found
