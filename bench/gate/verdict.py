"""Is head worse than base in one metric of one case? The margin, the decision over blocks, and the rule behind it.

**Scale.** A change counts from `head = base * (1 + share) + slack` on. It is measured on `y = log(value + slack)`, a
started logarithm (Tukey, Exploratory Data Analysis, 1977): far above the slack that is the logarithm, so a machine that
is twice as slow cancels out of a pair of blocks; below it, it is nearly linear, and zero has a value.

**Rule.** `worse`: the effect is beyond the margin, p <= ALPHA (after Holm, family.py), and the effect is at least as
large as what such a sample finds with 80 % probability. `better` likewise. `equivalent`: two one-sided t tests exclude
a change as large as the margin (Schuirmann 1987). Otherwise, and always below MIN_BLOCKS, `inconclusive`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.stats.paired import MIN_BLOCKS, paired, unpaired

Verdict = Literal["worse", "better", "equivalent", "inconclusive"]
VERDICTS: tuple[Verdict, ...] = ("inconclusive", "equivalent", "worse", "better")
RULE_VERSION = 4
"""To be increased with each change that can alter a verdict: proofs of different versions are counted apart."""
ALPHA = 0.005
"""For one look at the whole family; the gate looks again after each block (tests/bench/gate/test_error_rates.py)."""
POWER = 0.80
EQUIVALENCE_ALPHA = 0.001
"""For one look. With a look after each of 5 to 20 blocks a change as large as the margin is `equivalent` in at most 1 %
of the comparisons (tests/bench/gate/test_error_rates.py)."""
SHOWN_LEVEL = 0.90
Values = NDArray[np.float64] | np.float64


@dataclass(frozen=True)
class Margin:
    """The largest change that does not count: a share of base (0.1 is 10 %) and a slack in the metric's unit."""

    share: float
    slack: float = 0.0
    higher_is_better: bool = False

    def __post_init__(self) -> None:
        if not (self.share > 0 and self.slack >= 0):
            raise ValueError(f"a margin needs a share above 0 and a slack of 0 or more, not {self.share}, {self.slack}")

    def limit_at(self, base: float) -> float:
        """The margin on the scale, for a median `base`."""
        return math.log((base * (1 + self.share) + 2 * self.slack) / (base + self.slack))

    def on_scale(self, values: Sequence[float]) -> list[float]:
        """The values on the scale, where more is worse. Raises ValueError for a value that has no place there."""
        for value in values:
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"a block's value is {value}: only numbers from 0 up can be compared")
            if value + self.slack == 0:
                raise ValueError("a block's value is 0: the metric's margin needs a slack")
        sign = -1.0 if self.higher_is_better else 1.0
        return [sign * math.log(value + self.slack) for value in values]


@dataclass(frozen=True)
class Decision:
    """One metric of one case. `limit`, `effect`, `low`, `high` and `detectable` are on the scale; positive is worse.

    `base` and `head` are medians over blocks, `head_span` head's lowest and highest block. `p_worse` and `p_better` are
    one-sided, and corrected once the family is known; `p_beyond` is that of a change as large as the margin.
    `power`: the probability that such a change is significant.
    `changes`: of each block, head less base on the scale.
    """

    verdict: Verdict
    blocks: int
    margin: Margin
    base: float | None = None
    head: float | None = None
    head_span: tuple[float, float] | None = None
    limit: float = math.inf
    effect: float = math.nan
    low: float = -math.inf
    high: float = math.inf
    p_worse: float = 1.0
    p_better: float = 1.0
    p_beyond: float = 1.0
    power: float = 0.0
    detectable: float = math.inf
    changes: Sequence[float] = ()

    @property
    def ratio(self) -> float | None:
        """The effect as head / base; None if base is zero."""
        return self._as_ratio(self.effect)

    @property
    def shift(self) -> float | None:
        """The effect as head - base, in the metric's unit."""
        return self._as_shift(self.effect)

    def interval(self, reading: Literal["ratio", "shift"]) -> tuple[float | None, float | None]:
        """The 90 % interval from lower to higher; an end that so few blocks cannot give is None."""
        read = self._as_ratio if reading == "ratio" else self._as_shift
        ends = (self.high, self.low) if self.margin.higher_is_better else (self.low, self.high)
        return read(ends[0]), read(ends[1])

    def settled(self) -> Decision:
        """The decision with the verdict of its numbers; to be called again when Holm has adjusted them."""
        if self.blocks < MIN_BLOCKS:
            return replace(self, verdict="inconclusive")
        effect, detectable = np.float64(self.effect), np.float64(self.detectable)
        p_worse, p_better, p_beyond = (np.float64(p) for p in (self.p_worse, self.p_better, self.p_beyond))
        code = classify(effect, (p_worse, p_better, p_beyond), detectable, self.limit)
        return replace(self, verdict=VERDICTS[int(code)])

    def _as_shift(self, effect: float) -> float | None:
        if self.base is None or not math.isfinite(effect):
            return None
        towards = -effect if self.margin.higher_is_better else effect
        slack = self.margin.slack
        return max(math.exp(towards) * (self.base + slack) - slack, 0.0) - self.base  # no value is below zero

    def _as_ratio(self, effect: float) -> float | None:
        shift = self._as_shift(effect)
        return None if shift is None or not self.base else 1 + shift / self.base


def classify(
    effect: Values, p: tuple[Values, Values, Values], detectable: Values, limit: float | Values
) -> NDArray[np.int64]:
    """The places in VERDICTS of one comparison or an array of them, by the rule above.

    `p`: of "not worse", "not better" and "beyond the margin". `effect`, `detectable` and `limit` are on the scale.
    """
    shown = (np.abs(effect) > limit) & (np.abs(effect) >= detectable)
    worse, better = shown & (effect > 0) & (p[0] <= ALPHA), shown & (effect < 0) & (p[1] <= ALPHA)
    equivalent = p[2] <= EQUIVALENCE_ALPHA
    return np.select([worse, better, equivalent], [VERDICTS.index(each) for each in ("worse", "better", "equivalent")])


def decide(
    base: Sequence[float],
    head: Sequence[float],
    margin: Margin,
    *,
    side_by_side: bool = True,
    changes: Sequence[float] | None = None,
) -> Decision:
    """Decide over paired blocks: the i-th values were measured next to each other. Raises ValueError for others.

    `changes` are those of the blocks on the scale, where they are known from pairs of chats (pairs.py).
    Not `side_by_side`, such as a baseline's: blocks of one run share its conditions, so the margin must cover the
    differences between runs (margins.py). ValueError also for values that cannot be compared.
    """
    old, new = margin.on_scale(base), margin.on_scale(head)
    if side_by_side and len(old) != len(new):
        raise ValueError(f"{len(old)} blocks of base cannot be paired with {len(new)} of head")
    decision = undecided(base, head, min(len(old), len(new)), margin)
    if decision.blocks < 2:
        return decision
    if side_by_side and changes is None:
        changes = [b - a for a, b in zip(old, new, strict=True)]
    change = paired(changes) if side_by_side and changes else unpaired(old, new)
    limit, interval = margin.limit_at(statistics.median(base)), change.rank_interval(SHOWN_LEVEL)
    return replace(
        decision,
        limit=limit,
        effect=change.estimate,
        low=interval.low,
        high=interval.high,
        p_worse=change.p_above,
        p_better=change.p_below,
        p_beyond=change.p_beyond(limit),
        power=change.power(limit, ALPHA),
        detectable=change.detectable(ALPHA, POWER),
        changes=tuple(changes or ()),
    ).settled()


def undecided(base: Sequence[float], head: Sequence[float], blocks: int, margin: Margin) -> Decision:
    """A decision with too few blocks, and the medians that were measured."""
    medians = [statistics.median(values) if values else None for values in (base, head)]
    span = (min(head), max(head)) if head else None
    return Decision("inconclusive", blocks, margin, base=medians[0], head=medians[1], head_span=span)
