"""Means with their 95 % interval: over blocks where there are enough of them, else over the values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.stats.paired import MIN_BLOCKS, half_width, t_interval


class Mean(NamedTuple):
    """A mean and the ends of its 95 % interval (Student's t), in the unit of the values."""

    mean: float
    low: float
    high: float


def mean_interval(by_block: Mapping[int, Sequence[float]], least: float = 0.0) -> Mean:
    """The mean of all values; its interval over the blocks' means from five blocks on, else over the values.

    Blocks are the unit of replication; with fewer than five their interval would be too wide to show anything, and the
    one over single values does not know how much runs differ. With one value the interval is the value; `least` is
    what no value can be below.
    """
    values = [value for each in by_block.values() for value in each]
    means = [statistics.fmean(each) for each in by_block.values() if each]
    sample = means if len(means) >= MIN_BLOCKS else values
    mean = statistics.fmean(values)
    half = half_width(sample)
    return Mean(mean, mean, mean) if math.isinf(half) else Mean(mean, max(least, mean - half), mean + half)


def block_ends(values: Sequence[float]) -> tuple[float, float] | None:
    """The interval of the mean of one value per block; None with too few blocks for one."""
    return t_interval(values) if len(values) >= MIN_BLOCKS else None
