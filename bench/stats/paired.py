"""Few paired values, one pair per block: effect, interval, p value, and Holm's correction."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.special import stdtr, stdtrit  # Student's t: scipy.stats.t's cdf and ppf, without their overhead

MIN_BLOCKS = 5
"""Fewer pairs show no difference whatever their values: no interval or verdict is given on them."""


def hodges_lehmann(values: Sequence[float]) -> float:
    """The centre of a few values: the median of the means of all pairs, each value with itself included.

    Source: Hodges and Lehmann (1963), one-sample estimate by Walsh averages; a wild block in three moves it little.
    """
    walsh = [(one + other) / 2 for position, one in enumerate(values) for other in values[position:]]
    return statistics.median(walsh)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    half = half_width(values, confidence)
    middle = statistics.fmean(values)
    return middle - half, middle + half


def half_width(values: Sequence[float], confidence: float = 0.95) -> float:
    """Half the width of `t_interval`; infinite for fewer than two values."""
    if len(values) < 2:
        return math.inf
    quantile = float(stdtrit(len(values) - 1, (1 + confidence) / 2))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def t_test(differences: Sequence[float]) -> float:
    """The two-sided p value of paired differences being nothing but noise; 1 for fewer than two.

    scipy.stats.ttest_1samp, without its warnings: equal differences have no noise, so any but zero is beyond it.
    """
    if len(differences) < 2:
        return 1.0
    middle, spread = statistics.fmean(differences), statistics.stdev(differences)
    if spread == 0:
        return 1.0 if middle == 0 else 0.0
    return float(2 * stdtr(len(differences) - 1, -abs(middle) / spread * math.sqrt(len(differences))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values in the order given: below 0.05, the chance of any false alarm among them all is below 5 %.

    Source: Holm (1979), step down: the i-th smallest of m is multiplied by m - i, and none is below a smaller one's.
    """
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, p_values[position] * (len(p_values) - rank)))
        adjusted[position] = least
    return adjusted
