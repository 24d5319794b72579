"""The cases of a summary by rank: which are comparable, their statistics, which missed aborts, which is slowest."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from bench.analysis.comparison import STOP
from bench.record.summary import Interval, SummaryCase
from bench.workload.strategies import strategy_rank


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


def names_of(cases: Iterable[SummaryCase]) -> list[str]:
    """The strategies of the cases in the usual order."""
    return sorted({case.strategy for case in cases}, key=strategy_rank)


def without_misses(cases: Sequence[SummaryCase]) -> list[str]:
    """The strategies that missed no abort in any of these cases, in the usual order."""
    missing = {case.strategy for case in cases if case.missed}
    return [name for name in names_of(cases) if name not in missing]


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
