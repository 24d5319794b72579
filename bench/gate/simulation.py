"""Simulate the gate's verdicts on recorded comparisons of equal code, with a known shift added to one metric.

**Resampling.** The blocks of a record are the units: a simulated comparison draws whole blocks, so that the metrics of
a block stay together, and the values of a metric are centred at zero. A record of few blocks has few values, and a
sample that draws one block each time would have no spread. So noise is added, and the sum is scaled to the variance of
the blocks (the shrunk smoothed bootstrap: Silverman and Young, Biometrika 74, 1987).

**Decision.** The rule of verdict.py, with a look after each block from MIN_BLOCKS on: a comparison has the first
verdict that is not `inconclusive`, because the gate may end there. Holm's correction is over all metrics of the record,
of which one is shifted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.gate.verdict import ALPHA, POWER, VERDICTS, Margin, Verdict, classify
from bench.stats.paired import MIN_BLOCKS, detectable_errors, holm_columns, p_above, p_beyond, walsh_averages
from bench.stats.wilcoxon import Floats

RUNS = 4000
ROUNDING = 1e-9
OPEN = VERDICTS.index("inconclusive")
Codes = NDArray[np.int64]


class Spread(NamedTuple):
    """One metric of a case: head - base of each block on the gate's scale, and base's median in the metric's unit."""

    case: str
    metric: str
    changes: Sequence[float]
    base: float
    margin: Margin

    @property
    def limit(self) -> float:
        """The margin on the scale."""
        return self.margin.limit_at(self.base)

    @property
    def limit_share(self) -> float:
        """The margin as a share of base."""
        return (math.exp(self.limit) * (self.base + self.margin.slack) - self.margin.slack) / self.base - 1

    def on_scale(self, share: float) -> float:
        """A rise by a share of base, on the scale."""
        return math.log((self.base * (1 + share) + self.margin.slack) / (self.base + self.margin.slack))


class Cell(NamedTuple):
    """How often each verdict was given to comparisons of `blocks` blocks in which a metric rose by a share `shift`."""

    spread: Spread
    shift: float
    blocks: int
    counts: dict[Verdict, int]

    @property
    def wrong(self) -> list[Verdict]:
        """The verdicts that are wrong here; `worse` within the margin, but above zero, is not."""
        beyond = self.spread.on_scale(self.shift) >= self.spread.limit - ROUNDING
        return ["better", *(["worse"] if not self.shift else ["equivalent"] if beyond else [])]  # type: ignore[list-item]


class _Look(NamedTuple):
    """What the decision needs of every comparison after a number of blocks, with no shift; arrays of metric by run."""

    blocks: int
    mean: Floats
    error: Floats
    p_worse: Floats
    p_better: Floats


def simulate(
    family: Sequence[Spread],
    metrics: Sequence[str],
    shifts: Sequence[float],
    blocks: Sequence[int],
    *,
    runs: int = RUNS,
    seed: int = 1,
    at_margin: bool = False,
) -> list[Cell]:
    """Decide `runs` comparisons per metric, shift and number of blocks; in that order.

    `at_margin` adds a shift as large as the metric's margin, where a wrong `equivalent` is the most likely.
    `family`: all metrics that are judged together; `metrics`: names of those to shift. A metric whose base is zero
    cannot be shifted by a share of it. Raises ValueError for fewer blocks than a verdict needs.
    """
    if min(blocks) < MIN_BLOCKS:
        raise ValueError(f"a verdict needs {MIN_BLOCKS} blocks, not {min(blocks)}")
    drawn = draw(family, max(blocks), runs, np.random.default_rng(seed))
    looks = [_look(drawn[..., :count]) for count in range(MIN_BLOCKS, max(blocks) + 1)]
    asked = [place for place, each in enumerate(family) if each.metric in metrics and each.base > 0]
    asked.sort(key=lambda place: metrics.index(family[place].metric))
    cells = []
    for place in asked:
        estimates = [np.median(walsh_averages(drawn[place, :, : look.blocks]), axis=-1) for look in looks]
        spread = family[place]
        for shift in sorted({*shifts, spread.limit_share} if at_margin else shifts):
            first = np.full(runs, OPEN)
            for look, estimate in zip(looks, estimates, strict=True):
                codes = _decide(look, estimate, place, spread.on_scale(shift), spread.limit)
                first = np.where(first == OPEN, codes, first)
                if look.blocks in blocks:
                    counts = np.bincount(first, minlength=len(VERDICTS)).tolist()
                    cells.append(Cell(spread, shift, look.blocks, dict(zip(VERDICTS, counts, strict=True))))
    return cells


def draw(family: Sequence[Spread], blocks: int, runs: int, rng: np.random.Generator) -> Floats:
    """Changes of simulated comparisons of equal sides: metric by run by block.

    Metrics with the same number of recorded blocks get the same blocks.
    """
    at, drawn = rng.random((runs, blocks)), np.empty((len(family), runs, blocks))
    for row, spread in zip(drawn, family, strict=True):
        values = np.asarray(spread.changes, dtype=float)
        count = len(values)
        values = values - np.median(walsh_averages(values))
        centre, deviation = values.mean(), values.std(ddof=1) if count > 1 else 0.0
        width = count**-0.2  # Silverman's rule, in standard deviations
        smooth = values[(at * count).astype(int)] - centre + width * deviation * rng.standard_normal((runs, blocks))
        # The variance of a draw from n values is (n - 1) / n of their estimate.
        row[:] = centre + smooth / math.sqrt(max(count - 1, 1) / count + width**2)
    return drawn


def _look(changes: Floats) -> _Look:
    blocks = changes.shape[-1]
    mean, error = changes.mean(-1), changes.std(-1, ddof=1) / math.sqrt(blocks)
    return _Look(blocks, mean, error, p_above(mean, error, blocks - 1), p_above(-mean, error, blocks - 1))


def _decide(look: _Look, estimate: Floats, place: int, shift: float, limit: float) -> Codes:
    """The verdicts on one metric with a shift: it moves the mean and the estimate."""
    mean, error, freedom = look.mean[place] + shift, look.error[place], look.blocks - 1
    p_values = []
    for others, towards in ((look.p_worse, mean), (look.p_better, -mean)):
        family = others.copy()
        family[place] = p_above(towards, error, freedom)
        p_values.append(holm_columns(family)[place])
    p_values.append(p_beyond(mean, error, freedom, limit))
    detectable = detectable_errors(freedom, ALPHA, POWER) * error
    return classify(estimate + shift, (p_values[0], p_values[1], p_values[2]), detectable, limit)
