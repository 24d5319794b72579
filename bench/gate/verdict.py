"""Is head worse than base? One metric of one case over blocks: how large the change is, and how sure that is.

**Effect.** The difference between head and base on the margin's scale (decision.py), positive is worse, with the
90 % interval: Hodges and Lehmann's estimate and the exact Wilcoxon interval, which a block that a neighbour on the
machine spoilt does not move. **p** is a one-sided t test of the block differences: of the usual tests the only one
that can be small after six blocks (the exact ones end at 1/64), and a spoilt block makes it larger, not smaller.

**Verdict.** `worse`: the effect is beyond the margin, and p <= ALPHA (after Holm, see family.py), and it is no
smaller than what such a sample finds with 80 % probability: a smaller one is luck of the draw. `better` likewise.
`equivalent`: the 90 % interval lies inside the margin on both sides, that is two one-sided tests at 5 % (Schuirmann
1987). Else, and always below MIN_BLOCKS, `inconclusive`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from scipy.special import nctdtr, stdtr, stdtrit

from bench.gate.decision import Decision, Margin, Verdict
from bench.stats.hodges_lehmann import Located, paired, unpaired
from bench.stats.paired import MIN_BLOCKS

ALPHA = 0.005
"""For one look at a whole family. The gate looks again after each block it adds: tests/bench_gate simulates that."""
POWER = 0.80
LEVEL = 0.90
CERTAIN = 40.0
"""A margin of so many standard errors is always found; scipy's non-central t has nothing to add up there."""


def decide(base: Sequence[float], head: Sequence[float], margin: Margin) -> Decision:
    """Decide over paired blocks: the i-th values were measured next to each other. Raises ValueError when they differ
    in number or one is negative or no number."""
    if len(base) != len(head):
        raise ValueError(f"{len(base)} blocks of base cannot be paired with {len(head)} of head")
    apart = [_worse_by(one, other, margin) for one, other in zip(base, head, strict=True)]
    if len(apart) < 2:
        return undecided(base, head, len(apart), margin)
    spread = statistics.stdev(apart) / math.sqrt(len(apart))
    located = paired(apart, LEVEL)
    change = _Change(len(apart), located, statistics.fmean(apart), spread, len(apart) - 1)
    return _decided(base, head, margin, change)


def decide_unpaired(base: Sequence[float], head: Sequence[float], margin: Margin) -> Decision:
    """The same for blocks that were not measured side by side, such as a baseline's: Welch's t, Mann and Whitney's
    interval. Blocks of one run share its luck, so the margin must cover what runs differ by (bench/gate/margins.py)."""
    sides = [[_log(value, margin) for value in values] for values in (base, head)]
    fewest = min(map(len, sides))
    if fewest < 2:
        return undecided(base, head, fewest, margin)
    sign = -1.0 if margin.higher_is_better else 1.0
    old, new = ([sign * value for value in side] for side in sides)
    parts = [statistics.variance(side) / len(side) for side in (old, new)]
    total = sum(parts)
    # Welch and Satterthwaite's degrees of freedom; sides without any spread leave nothing to weigh.
    weighed = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (old, new), strict=True))
    freedom = total**2 / weighed if weighed else len(old) + len(new) - 2
    mean = statistics.fmean(new) - statistics.fmean(old)
    change = _Change(fewest, unpaired(old, new, LEVEL), mean, math.sqrt(total), freedom)
    return _decided(base, head, margin, change)


def settle(decision: Decision) -> Decision:
    """The decision with the verdict that its numbers give: called again when Holm has adjusted them."""
    return replace(decision, verdict=_verdict(decision))


class _Change(NamedTuple):
    """A difference on the margin's scale, as blocks saw it: robust estimate, mean, its standard error and freedom."""

    blocks: int
    located: Located
    mean: float
    error: float
    freedom: float


def _decided(base: Sequence[float], head: Sequence[float], margin: Margin, change: _Change) -> Decision:
    mean, error, freedom = change.mean, change.error, change.freedom
    limit = margin.limit_at(statistics.median(base))
    critical = float(stdtrit(freedom, 1 - ALPHA))  # Student's t; scipy.special because this is called very often
    if error > 1e-12:
        p_worse, p_better = float(stdtr(freedom, -mean / error)), float(stdtr(freedom, mean / error))
        noncentral = limit / error
        power = 1 - float(nctdtr(freedom, noncentral, critical)) if noncentral < CERTAIN else 1.0
    else:  # every block says the same: operations per token, or nothing at all
        p_worse, p_better, power = float(mean <= 0), float(mean >= 0), 1.0
    return settle(
        Decision(
            verdict="inconclusive",
            blocks=change.blocks,
            margin=margin,
            base=statistics.median(base),
            head=statistics.median(head),
            head_span=(min(head), max(head)),
            limit=limit,
            effect=change.located.estimate,
            low=change.located.low,
            high=change.located.high,
            p_worse=p_worse,
            p_better=p_better,
            power=power,
            # Minimum detectable effect: Bloom, Minimum detectable effects (Evaluation Review, 1995).
            detectable=(critical + float(stdtrit(freedom, POWER))) * error,
        )
    )


def undecided(base: Sequence[float], head: Sequence[float], blocks: int, margin: Margin) -> Decision:
    """A decision that `blocks` blocks are too few for; it still tells what was measured."""
    medians = [statistics.median(values) if values else None for values in (base, head)]
    span = (min(head), max(head)) if head else None
    return Decision("inconclusive", blocks, margin, base=medians[0], head=medians[1], head_span=span)


def _verdict(decision: Decision) -> Verdict:
    limit = decision.limit
    if decision.blocks < MIN_BLOCKS:
        return "inconclusive"
    shown = abs(decision.effect) > limit and abs(decision.effect) >= decision.detectable
    if shown and decision.effect > 0 and decision.p_worse <= ALPHA:
        return "worse"
    if shown and decision.effect < 0 and decision.p_better <= ALPHA:
        return "better"
    return "equivalent" if -limit < decision.low and decision.high < limit else "inconclusive"


def _worse_by(base: float, head: float, margin: Margin) -> float:
    apart = _log(head, margin) - _log(base, margin)
    return -apart if margin.higher_is_better else apart


def _log(value: float, margin: Margin) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"a block's value is {value}: only numbers from 0 up can be compared")
    if value + margin.slack == 0:
        raise ValueError("a block's value is 0: the metric's margin needs a slack")
    return math.log(value + margin.slack)
