"""Percentiles of samples with their intervals: over blocks where there are enough, else over the samples."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bench.stats.paired import MIN_BLOCKS

PERCENTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
MIN_SAMPLES = 6
"""A block with fewer gives no median, as `interval95` gives none for it."""
DIGITS = 4  # 0.1 us in milliseconds: below the resolution of any clock here
Floats = NDArray[np.float64]


def describe(samples: Sequence[float]) -> dict[str, Any]:
    """`{"n", "p50", "p95", "p99", "mean", "ci95"}` of independent samples.

    A percentile whose 95 % interval does not exist is null: p50 needs n >= 6, p95 72, p99 368.
    """
    described = describe_blocks([samples])
    del described["ci95_of"]
    return described


def describe_blocks(blocks: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The same for the samples of each block, and `ci95_of`; the percentiles are those of all samples.

    From MIN_BLOCKS blocks of MIN_SAMPLES on, `ci95_of` is "blocks" and the intervals are those of `over_blocks`; with
    fewer it is "chats" and they take all samples for independent.
    """
    samples = np.sort(np.concatenate([np.asarray(each, dtype=float) for each in blocks])) if blocks else np.empty(0)
    usable = [each for each in blocks if len(each) >= MIN_SAMPLES]
    enough = len(usable) >= MIN_BLOCKS
    of_blocks = [np.quantile(each, [quantile for _name, quantile in PERCENTILES]) for each in usable if enough]
    points: dict[str, float | None] = dict.fromkeys(dict(PERCENTILES))
    intervals: dict[str, tuple[float, float] | None] = dict.fromkeys(dict(PERCENTILES))
    for place, (name, quantile) in enumerate(PERCENTILES):
        if ends := interval95(samples, quantile):
            point = points[name] = float(np.quantile(samples, quantile))
            intervals[name] = over_blocks([float(each[place]) for each in of_blocks], point, ends) if enough else ends
    mean = float(samples.mean()) if len(samples) else None
    return _described(len(samples), points, intervals, mean, "blocks" if enough else "chats")


def describe_values(values: Sequence[float]) -> dict[str, Any]:
    """The same for one value per block: p50 is given from the first block on, p95 and p99 never."""
    points = {"p50": statistics.median(values), "p95": None, "p99": None}
    intervals = {"p50": interval95(values, 0.5), "p95": None, "p99": None}
    return _described(len(values), points, intervals, statistics.fmean(values), "blocks")


def over_blocks(values: Sequence[float], point: float, pooled: tuple[float, float]) -> tuple[float, float]:
    """The 95 % interval of a percentile of all samples, from the same percentile of each block (`values`).

    Half of Student's interval over the blocks and the distance from `point` to the end of the `pooled` interval, added
    in quadrature: the first alone is too narrow for the tail of small blocks, the second does not see the spread
    between blocks. On the logarithm where all is positive, since noise grows with the value. With 20 % spread between 5
    to 12 blocks it held the true p50 in 95 to 98 % of simulated runs, p95 in 93 to 99 %, p99 in 92 to 98 %; `pooled`
    held them in 38 to 95 %, a bootstrap over the blocks in 77 to 92 %.
    """
    logarithmic = min(*values, point, pooled[0]) > 0
    center, low, high = (math.log(each) if logarithmic else each for each in (point, *pooled))
    spread = statistics.stdev(map(math.log, values) if logarithmic else values)
    half = float(stdtrit(len(values) - 1, 0.975)) * spread / math.sqrt(len(values))
    low, high = center - math.hypot(half, center - low), center + math.hypot(half, high - center)
    return (math.exp(low), math.exp(high)) if logarithmic else (max(low, min(0.0, *values)), high)


def interval95(samples: Sequence[float] | Floats, quantile: float) -> tuple[float, float] | None:
    """The two-sided 95 % order-statistic interval of a quantile, or None when n is too small for one.

    Source: scipy.stats.quantile_test, which inverts the binomial test (Conover, Practical Nonparametric Statistics,
    3rd ed., section 3.2). It assumes no distribution, and independent samples.
    """
    ranks = _ranks95(len(samples), quantile)
    if ranks is None:
        return None
    ordered = np.sort(samples)
    return float(ordered[ranks[0]]), float(ordered[ranks[1]])


@functools.cache
def _ranks95(count: int, quantile: float) -> tuple[int, int] | None:
    """Which of `count` ordered samples are the ends of the interval."""
    if not count:
        return None
    from scipy.stats import quantile_test  # noqa: PLC0415 - it takes a second to import

    interval: Any = quantile_test(range(count), p=quantile).confidence_interval(confidence_level=0.95)
    low, high = float(interval.low), float(interval.high)
    return None if math.isnan(low) or math.isnan(high) else (round(low), round(high))


def _described(
    count: int,
    points: dict[str, float | None],
    intervals: dict[str, tuple[float, float] | None],
    mean: float | None,
    ci95_of: str,
) -> dict[str, Any]:
    return {
        "n": count,
        **{name: _rounded(point) for name, point in points.items()},
        "mean": _rounded(mean),
        "ci95": {name: [_rounded(end) for end in ends] if ends else None for name, ends in intervals.items()},
        "ci95_of": ci95_of,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
