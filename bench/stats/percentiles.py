"""Percentiles of samples with their intervals: what a number is called and when it is blank."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import quantile_test

PERCENTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
DIGITS = 4  # 0.1 us in milliseconds: below what any clock here can tell


def describe(samples: Sequence[float]) -> dict[str, Any]:
    """`{"n", "p50", "p95", "p99", "mean", "ci95"}` of samples of single chats.

    A percentile whose 95 % interval does not exist is null, not a guess: p50 needs n >= 6, p95 72, p99 368.
    Samples within one chat (itl_ms) hang together, so their intervals are narrower than the truth.
    """
    intervals = {name: interval95(samples, quantile) for name, quantile in PERCENTILES}
    # quantiles(n=100, inclusive) interpolates linearly between order statistics, as numpy's default does.
    cuts = statistics.quantiles(samples, n=100, method="inclusive") if len(samples) > 1 else []
    points = {name: cuts[round(quantile * 100) - 1] if intervals[name] else None for name, quantile in PERCENTILES}
    return _described(samples, points, intervals)


def describe_blocks(values: Sequence[float]) -> dict[str, Any]:
    """The same for one value per block: p50 is given from the first block on, p95 and p99 never."""
    points = {"p50": statistics.median(values), "p95": None, "p99": None}
    return _described(values, points, {"p50": interval95(values, 0.5), "p95": None, "p99": None})


def interval95(samples: Sequence[float], quantile: float) -> tuple[float, float] | None:
    """The two-sided 95 % order-statistic interval of a quantile, or None when n is too small for one.

    Source: scipy.stats.quantile_test, which inverts the binomial test (Conover, Practical Nonparametric Statistics,
    3rd ed., section 3.2); it distributes nothing and holds for every continuous or discrete distribution.
    """
    ranks = _ranks95(len(samples), quantile)
    if ranks is None:
        return None
    ordered = sorted(samples)
    return float(ordered[ranks[0]]), float(ordered[ranks[1]])


@functools.cache
def _ranks95(count: int, quantile: float) -> tuple[int, int] | None:
    """Which of `count` ordered samples are the ends of the interval: that depends on nothing but their number."""
    if not count:
        return None
    interval: Any = quantile_test(range(count), p=quantile).confidence_interval(confidence_level=0.95)
    low, high = float(interval.low), float(interval.high)
    return None if math.isnan(low) or math.isnan(high) else (round(low), round(high))


def _described(
    samples: Sequence[float],
    points: Mapping[str, float | None],
    intervals: Mapping[str, tuple[float, float] | None],
) -> dict[str, Any]:
    return {
        "n": len(samples),
        **{name: None if point is None else round(point, DIGITS) for name, point in points.items()},
        "mean": round(statistics.fmean(samples), DIGITS) if samples else None,
        "ci95": {name: [round(end, DIGITS) for end in ends] if ends else None for name, ends in intervals.items()},
    }
