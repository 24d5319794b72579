"""Was an aim kept? Ratios of rounds and of percentiles, each with its interval: met, missed, or undecided."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal

from bench.stats.paired import t_interval
from bench.stats.percentiles import interval95

Verdict = Literal["met", "missed", "undecided"]
Ends = tuple[float, float]
Row = dict[str, Any]


def of_rounds(ratios: Sequence[float]) -> Row:
    """`{"median", "min", "max", "ci95"}` of one ratio per round; `ci95` is None for fewer than two.

    The interval is Student's of the mean of the logarithms, so a ratio and its inverse get the same one: a round is the
    unit of replication, since the samples within one share whatever the machine did meanwhile.
    """
    ends = t_interval([math.log(ratio) for ratio in ratios])
    return {
        "median": statistics.median(ratios),
        "min": min(ratios),
        "max": max(ratios),
        "ci95": [math.exp(end) for end in ends] if ends else None,
    }


def of_percentiles(ours: Sequence[float], base: Sequence[float], quantile: float) -> tuple[float, Ends] | None:
    """The ratio of two samples' quantile and its 95 % interval; None when either has too few for one (p99: 368).

    Source: Zou and Donner, Construction of confidence limits about effect measures: a general approach, Statistics in
    Medicine 27 (2008), on the logarithms of the order-statistic intervals, which assume no distribution. Samples count
    as independent.
    """
    above, below = interval95(ours, quantile), interval95(base, quantile)
    if above is None or below is None:
        return None
    one, other = (math.log(_quantile(samples, quantile)) for samples in (ours, base))
    down = math.hypot(one - math.log(above[0]), math.log(below[1]) - other)
    up = math.hypot(math.log(above[1]) - one, other - math.log(below[0]))
    return math.exp(one - other), (math.exp(one - other - down), math.exp(one - other + up))


def judge(ends: Sequence[float] | None, aim: float, *, at_least: bool = False) -> Verdict:
    """`met` or `missed` when the whole interval lies on that side of the aim, else `undecided`."""
    if ends is None:
        return "undecided"
    low, high = ends
    if at_least:
        return "met" if low >= aim else "missed" if high < aim else "undecided"
    return "met" if high <= aim else "missed" if low > aim else "undecided"


def _quantile(samples: Sequence[float], quantile: float) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[round(quantile * 100) - 1]
