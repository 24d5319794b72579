"""Error rates of a run that looks at its data after every block, and may end early."""

from __future__ import annotations

from scipy.special import stdtrit

from bench.stats.paired import MIN_BLOCKS
from bench.stats.wilcoxon import Interval

EARLY_ALPHA = 0.005
"""The error rate of all early looks together; it is subtracted from that of the last one."""


def early_level(blocks: int) -> float:
    """The level of a look after this number of blocks, MIN_BLOCKS at least.

    The levels of all looks, however many there are, add up to EARLY_ALPHA, since the sum of 1 / (k (k + 1)) is 1. By
    the union bound a wrong early decision is therefore no more probable than that, whatever the distribution and
    however much the looks depend on each other. Raises ValueError below MIN_BLOCKS.
    """
    look = blocks - MIN_BLOCKS + 1
    if look < 1:
        raise ValueError(f"{blocks} blocks: an early look needs {MIN_BLOCKS}")
    return EARLY_ALPHA / (look * (look + 1))


def widened(interval: Interval, blocks: int, alpha: float) -> Interval:
    """Student's 95 % interval over this number of blocks, made one of level 1 - alpha."""
    middle, half = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 2
    half *= float(stdtrit(blocks - 1, 1 - alpha / 2) / stdtrit(blocks - 1, 0.975))
    return Interval(middle - half, middle + half)
