"""Null distributions of the exact Wilcoxon tests, and the interval that inverts such a test.

scipy has the tests, but neither the intervals nor the null distributions in public. Source: Hollander, Wolfe and
Chicken, Nonparametric Statistical Methods, 3rd ed., sections 3.3 and 4.3.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """The ends of a confidence interval, in the unit of the values."""

    low: float
    high: float


def rank_interval(ordered: Floats, counts: Floats, level: float) -> Interval:
    """The two of the `ordered` candidates that cut off as much of the null distribution `counts` as `level` allows.

    Infinite where so few values cannot give an interval of that level (5 pairs are enough for 0.90).
    """
    cut = cut_off(counts, level)
    return Interval(float(ordered[cut - 1]), float(ordered[-cut])) if cut else Interval(-math.inf, math.inf)


def cut_off(counts: Floats, level: float) -> int:
    """The number of candidates below which the test rejects, at each end; 0 with too few values for the level."""
    tail = np.cumsum(counts / counts.sum())
    return int(np.searchsorted(tail, (1 - level) / 2, side="right"))


@cache
def signed_rank_counts(pairs: int) -> Floats:
    """Number of the 2^n sign patterns in which the positive ranks add up to 0, 1, 2, ..."""
    counts = np.ones(1)
    for rank in range(1, pairs + 1):
        counts = np.append(counts, np.zeros(rank)) + np.append(np.zeros(rank), counts)
    return counts


@cache
def rank_sum_counts(left: int, right: int) -> Floats:
    """Number of orders of two samples in which Mann and Whitney's U is 0, 1, 2, ... (a Gaussian binomial)."""
    counts = np.zeros(left * right + 1)
    counts[0] = 1
    for size in range(1, left + 1):
        times = right + size
        if times < len(counts):
            counts[times:] -= counts[:-times].copy()  # times (1 - q^(right + size))
        for value in range(size, len(counts)):
            counts[value] += counts[value - size]  # divided by (1 - q^size)
    return counts
