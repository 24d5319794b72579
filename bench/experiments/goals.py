"""Whether a goal is met: ratios of rounds and of percentiles, each with its interval: met, missed, or undecided."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal

from bench.stats.paired import t_interval
from bench.stats.percentiles import describe

Verdict = Literal["met", "missed", "undecided"]
NO_RATIO: dict[str, Any] = {"ratio": None, "min": None, "max": None, "ci95": None}


def spread_of(values: Sequence[float]) -> dict[str, Any]:
    """`{"median", "min", "max"}`."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def of_rounds(ratios: Sequence[float]) -> dict[str, Any]:
    """`spread_of` one ratio per round, and its `ci95`, None for fewer than two.

    Student's interval of the mean logarithm, so a ratio and its inverse get the same one. The round is the unit of
    replication: the samples within it share the state of the machine.
    """
    ci = t_interval([math.log(ratio) for ratio in ratios])
    return spread_of(ratios) | {"ci95": [math.exp(end) for end in ci] if ci else None}


def of_percentiles(ours: Sequence[float], base: Sequence[float], name: str) -> dict[str, Any]:
    """The `ratio` of two samples' percentile (`p99`) and its `ci95`; NO_RATIO with too few samples (p99: 368).

    Source: Zou and Donner, Statistics in Medicine 27 (2008), on the logarithms of the order-statistic intervals, which
    assume no distribution. Samples count as independent.
    """
    above, below = describe(ours), describe(base)
    if above[name] is None or below[name] is None:
        return NO_RATIO
    (one, one_low, one_high), (other, other_low, other_high) = (
        [math.log(value) for value in (each[name], *each["ci95"][name])] for each in (above, below)
    )
    down, up = math.hypot(one - one_low, other_high - other), math.hypot(one_high - one, other - other_low)
    return NO_RATIO | {"ratio": math.exp(one - other), "ci95": [math.exp(one - other + end) for end in (-down, up)]}


def judge(ci: Sequence[float] | None, goal: float, *, at_least: bool = False) -> Verdict:
    """`met` or `missed` when the whole interval lies on that side of the goal, else `undecided`."""
    if ci is None:
        return "undecided"
    low, high = ci
    if at_least:
        return "met" if low >= goal else "missed" if high < goal else "undecided"
    return "met" if high <= goal else "missed" if low > goal else "undecided"
