"""Where a line of numbers takes a step: a stretch whose ranks differ from the rest, looked for again inside each piece.

Source: Olshen, Venkatraman, Lucito and Wigler, Circular binary segmentation (Biostatistics, 2004), with Wilcoxon's rank
sum in the place of t, and p by permutation as they have it. A stretch rather than a split, because a line that goes up
and comes back has no single split. The same idea with another statistic (E-divisive means) watches MongoDB's builds:
Daly et al., The Use of Change Point Detection to Identify Software Performance Regressions in a Continuous Integration
System (ICPE 2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

ALPHA = 0.05
SHORTEST = 3
"""Fewer runs on a side are an outlier, not a level."""
PERMUTATIONS = 4000


class Step(NamedTuple):
    """A step: where the new level begins, both levels (medians up to the next steps), and the test's p."""

    at: int
    before: float
    after: float
    p: float


def steps(values: Sequence[float], seed: int = 1) -> list[Step]:
    """The steps in `values`, in order; none in a line of fewer than eight, which is too short to show one.

    Ranks only, so a single wild run makes no step. The same values and seed give the same answer.
    """
    rng = np.random.default_rng(seed)
    line = np.asarray(values, dtype=float)
    found = _split(line, 0, rng)
    edges = [0, *(at for at, _p in found), len(line)]
    levels = [float(np.median(line[low:high])) for low, high in pairwise(edges)] if found else []
    return [Step(at, levels[place], levels[place + 1], p) for place, (at, p) in enumerate(found)]


def _split(line: NDArray[np.float64], offset: int, rng: np.random.Generator) -> list[tuple[int, float]]:
    """The edges of a stretch that stands out, if one does, and those inside the pieces it leaves."""
    pieces = _stretches(len(line))
    if not pieces:
        return []
    ranks = rankdata(line)
    apart = [float(each[0]) for each in _standing_out(ranks[np.newaxis], pieces)]
    shuffled = rng.permuted(np.tile(ranks, (PERMUTATIONS, 1)), axis=1)
    highest = np.max(list(_standing_out(shuffled, pieces)), axis=0)
    p = (int(np.sum(highest >= max(apart) - 1e-9)) + 1) / (PERMUTATIONS + 1)
    if p > ALPHA:
        return []
    edges = [edge for edge in min(pieces, key=lambda piece: _misfit(line, piece)) if 0 < edge < len(line)]
    inside = [
        found for low, high in pairwise([0, *edges, len(line)]) for found in _split(line[low:high], offset + low, rng)
    ]
    return sorted([*((offset + edge, p) for edge in edges), *inside])


def _misfit(line: NDArray[np.float64], piece: tuple[int, int]) -> float:
    """How far the values are from two levels, one in the stretch and one outside: ranks alone place edges badly."""
    inside, outside = line[piece[0] : piece[1]], np.delete(line, slice(*piece))
    return float(sum(np.abs(side - np.median(side)).sum() for side in (inside, outside)))


def _stretches(length: int) -> list[tuple[int, int]]:
    """Every (start, end) that leaves SHORTEST runs inside, and at each side either none or as many."""
    starts = [start for start in range(length) if start == 0 or start >= SHORTEST]
    ends = [end for end in range(length + 1) if end == length or end <= length - SHORTEST]
    return [(start, end) for start in starts for end in ends if SHORTEST <= end - start < length]


def _standing_out(ranks: NDArray[np.float64], pieces: Sequence[tuple[int, int]]) -> Iterator[NDArray[np.float64]]:
    """For each stretch, how many standard deviations each row's rank sum is from an even share."""
    length = ranks.shape[1]
    sums = np.concatenate([np.zeros((len(ranks), 1)), np.cumsum(ranks, axis=1)], axis=1)
    for start, end in pieces:
        inside = end - start
        spread = math.sqrt(inside * (length - inside) * (length + 1) / 12)
        yield np.abs(sums[:, end] - sums[:, start] - inside * (length + 1) / 2) / spread
