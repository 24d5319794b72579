"""Is head worse than base? One metric of one case over blocks: how large the change is, and how sure that is.

**Effect.** The difference between head and base on the margin's scale (decision.py), positive is worse, with the
90 % rank interval and one-sided p of stats/paired.py: a block that a neighbour on the machine spoilt moves neither
estimate nor interval, and makes p larger.

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

from bench.gate.decision import Decision, Margin, Verdict
from bench.stats.paired import MIN_BLOCKS, Difference, paired, unpaired

ALPHA = 0.005
"""For one look at a whole family. The gate looks again after each block it adds: tests/bench_gate simulates that."""
POWER = 0.80
LEVEL = 0.90


def decide(base: Sequence[float], head: Sequence[float], margin: Margin) -> Decision:
    """Decide over paired blocks: the i-th values were measured next to each other.

    Raises ValueError when they differ in number or one is negative or no number.
    """
    if len(base) != len(head):
        raise ValueError(f"{len(base)} blocks of base cannot be paired with {len(head)} of head")
    apart = [new - old for old, new in zip(_on_scale(base, margin), _on_scale(head, margin), strict=True)]
    if len(apart) < 2:
        return undecided(base, head, len(apart), margin)
    return _decided(base, head, margin, paired(apart))


def decide_unpaired(base: Sequence[float], head: Sequence[float], margin: Margin) -> Decision:
    """The same for blocks that were not measured side by side, such as a baseline's.

    Blocks of one run share its conditions, so the margin must cover the differences between runs (margins.py).
    """
    old, new = _on_scale(base, margin), _on_scale(head, margin)
    fewest = min(len(old), len(new))
    return undecided(base, head, fewest, margin) if fewest < 2 else _decided(base, head, margin, unpaired(old, new))


def settle(decision: Decision) -> Decision:
    """The decision with the verdict that its numbers give: called again when Holm has adjusted them."""
    return replace(decision, verdict=_verdict(decision))


def _decided(base: Sequence[float], head: Sequence[float], margin: Margin, change: Difference) -> Decision:
    middle = statistics.median(base)
    limit, interval = margin.limit_at(middle), change.rank_interval(LEVEL)
    return settle(
        Decision(
            verdict="inconclusive",
            blocks=change.blocks,
            margin=margin,
            base=middle,
            head=statistics.median(head),
            head_span=(min(head), max(head)),
            limit=limit,
            effect=change.estimate,
            low=interval.low,
            high=interval.high,
            p_worse=change.p_above,
            p_better=change.p_below,
            power=change.power(limit, ALPHA),
            detectable=change.detectable(ALPHA, POWER),
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


def _on_scale(values: Sequence[float], margin: Margin) -> list[float]:
    """The values on the margin's scale, positive is worse."""
    sign = -1.0 if margin.higher_is_better else 1.0
    return [sign * _log(value, margin) for value in values]


def _log(value: float, margin: Margin) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"a block's value is {value}: only numbers from 0 up can be compared")
    if value + margin.slack == 0:
        raise ValueError("a block's value is 0: the metric's margin needs a slack")
    return math.log(value + margin.slack)
