"""Decides when to stop adding blocks, from the precision of the medians; pure, no files."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise

from bench.stats.paired import MIN_BLOCKS, half_width

ENOUGH_SHARE = 0.10
ENOUGH_MS = 0.1


def loosest(values: Mapping[str, Sequence[float]], *, enough_ms: float = ENOUGH_MS) -> tuple[str, float]:
    """The case with the least precise median, and half the width of its 95 % interval as a share of its centre.

    `values` are the p50 of the blocks so far, in ms, by case. The share is 0.0 where the half width is at most
    `enough_ms`, and infinite with a single block. Raises ValueError when there are no cases.
    """
    return max(((name, _share(blocks, enough_ms)) for name, blocks in values.items()), key=lambda each: each[1])


def tight_enough(
    values: Mapping[str, Sequence[float]], *, share: float = ENOUGH_SHARE, enough_ms: float = ENOUGH_MS
) -> bool:
    """Whether every case has MIN_BLOCKS blocks and an interval within `share`; true without cases."""
    if any(len(blocks) < MIN_BLOCKS for blocks in values.values()):
        return False
    return not values or loosest(values, enough_ms=enough_ms)[1] <= share


def fits(ends_s: Sequence[float], budget_s: float) -> bool:
    """Whether one more block ends within the budget; `ends_s` is 0 and when each block ended, in seconds.

    The first block is longer than the others (calibration, counting store operations, idling), so from the second on
    the next one is taken to be as long as the longest of those.
    """
    took_s = [end - begin for begin, end in pairwise(ends_s)]
    return ends_s[-1] + max(took_s[1:] or took_s) <= budget_s


def _share(blocks: Sequence[float], enough_ms: float) -> float:
    half = half_width(blocks)
    if half <= enough_ms:
        return 0.0
    middle = statistics.fmean(blocks) if math.isfinite(half) else 0.0
    return half / middle if middle > 0 else math.inf
