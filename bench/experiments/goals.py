"""Whether a goal is met: ratios of rounds and of percentiles, each with its interval: met, missed, or undecided."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal

from bench.stats.paired import t_interval
from bench.stats.percentiles import interval95

Verdict = Literal["met", "missed", "undecided"]
Interval = tuple[float, float]


def of_rounds(ratios: Sequence[float]) -> dict[str, Any]:
    """`{"median", "min", "max", "ci95"}` of one ratio per round; `ci95` is None for fewer than two.

    Student's interval of the mean logarithm, so a ratio and its inverse get the same one. The round is the unit of
    replication: the samples within it share the state of the machine.
    """
    ci = t_interval([math.log(ratio) for ratio in ratios])
    return {
        "median": statistics.median(ratios),
        "min": min(ratios),
        "max": max(ratios),
        "ci95": [math.exp(end) for end in ci] if ci else None,
    }


def of_percentiles(ours: Sequence[float], base: Sequence[float], quantile: float) -> tuple[float, Interval] | None:
    """The ratio of two samples' quantile and its 95 % interval; None when either has too few for one (p99: 368).

    Source: Zou and Donner, Statistics in Medicine 27 (2008), on the logarithms of the order-statistic intervals, which
    assume no distribution. Samples count as independent.
    """
    above, below = interval95(ours, quantile), interval95(base, quantile)
    if above is None or below is None:
        return None
    one, other = (math.log(_quantile(samples, quantile)) for samples in (ours, base))
    down = math.hypot(one - math.log(above[0]), math.log(below[1]) - other)
    up = math.hypot(math.log(above[1]) - one, other - math.log(below[0]))
    return math.exp(one - other), (math.exp(one - other - down), math.exp(one - other + up))


def judge(ci: Sequence[float] | None, goal: float, *, at_least: bool = False) -> Verdict:
    """`met` or `missed` when the whole interval lies on that side of the goal, else `undecided`."""
    if ci is None:
        return "undecided"
    low, high = ci
    if at_least:
        return "met" if low >= goal else "missed" if high < goal else "undecided"
    return "met" if high <= goal else "missed" if low > goal else "undecided"


def _quantile(samples: Sequence[float], quantile: float) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[round(quantile * 100) - 1]
