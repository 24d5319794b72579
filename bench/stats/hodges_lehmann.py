"""How far apart two sets of blocks are, and between which ends: estimates that a single bad block does not move.

Sources: Hodges and Lehmann, Estimates of location based on rank tests (1963); the intervals invert the exact Wilcoxon
tests (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd ed., sections 3.3 and 4.3). scipy has the
tests, but neither the intervals nor the null distributions in public.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Located(NamedTuple):
    """An estimate and its interval, in the unit of what went in."""

    estimate: float
    low: float
    high: float


def paired(differences: Sequence[float], level: float = 0.90) -> Located:
    """Median of the Walsh averages (x_i + x_j) / 2, i <= j, of paired differences, with an interval of `level`.

    The ends are infinite where so few pairs cannot give an interval of that level (5 pairs are enough for 0.90).
    """
    values = np.asarray(differences, dtype=float)
    first, second = np.triu_indices(len(values))
    return _located((values[first] + values[second]) / 2, _signed_rank_counts(len(values)), level)


def unpaired(base: Sequence[float], head: Sequence[float], level: float = 0.90) -> Located:
    """Median of all differences head_j - base_i of two independent samples, with an interval of `level`."""
    apart = np.subtract.outer(np.asarray(head, dtype=float), np.asarray(base, dtype=float)).ravel()
    return _located(apart, _rank_sum_counts(len(base), len(head)), level)


def _located(candidates: NDArray[np.float64], counts: NDArray[np.float64], level: float) -> Located:
    """The median of `candidates`, and the two that cut off as much of the test's null distribution as `level` lets."""
    ordered = np.sort(candidates)
    tail = np.cumsum(counts / counts.sum())
    cut = int(np.searchsorted(tail, (1 - level) / 2, side="right"))  # the test rejects below this many candidates
    middle = float(np.median(ordered))
    if cut == 0:
        return Located(middle, -np.inf, np.inf)
    return Located(middle, float(ordered[cut - 1]), float(ordered[-cut]))


@cache
def _signed_rank_counts(pairs: int) -> NDArray[np.float64]:
    """In how many of the 2^n sign patterns the positive ranks add up to 0, 1, 2, ..."""
    counts = np.ones(1)
    for rank in range(1, pairs + 1):
        counts = np.append(counts, np.zeros(rank)) + np.append(np.zeros(rank), counts)
    return counts


@cache
def _rank_sum_counts(left: int, right: int) -> NDArray[np.float64]:
    """In how many orders of two samples Mann and Whitney's U is 0, 1, 2, ...: a Gaussian binomial coefficient."""
    counts = np.zeros(left * right + 1)
    counts[0] = 1
    for size in range(1, left + 1):
        times = right + size
        if times < len(counts):
            counts[times:] -= counts[:-times].copy()  # times (1 - q^(right + size))
        for value in range(size, len(counts)):
            counts[value] += counts[value - size]  # divided by (1 - q^size)
    return counts
