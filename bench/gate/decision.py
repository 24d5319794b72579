"""What the gate decides with and what it says: a margin, and a decision whose numbers can be read in any unit.

A change counts from `head = base * (1 + share) + slack` on. It is measured on the scale `y = log(value + slack)`, a
started logarithm (Tukey, Exploratory Data Analysis, 1977): far above the slack that is the logarithm, so that a machine
which is now twice as slow cancels out of a pair of blocks; below it, where a fraction of a millisecond would look like
a large ratio, it is nearly the value itself, and a zero has its place. On that scale the margin is the distance from
base's median up to where a change counts; the same distance counts downwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["worse", "better", "equivalent", "inconclusive"]


@dataclass(frozen=True)
class Margin:
    """What does not count yet: a share (0.1 is 10 %, more than 0) of base, and on top a slack in the metric's unit."""

    share: float
    slack: float = 0.0
    higher_is_better: bool = False

    def __post_init__(self) -> None:
        if not (self.share > 0 and self.slack >= 0):
            raise ValueError(f"a margin needs a share above 0 and a slack of 0 or more, not {self.share}, {self.slack}")

    def limit_at(self, base: float) -> float:
        """The margin as an effect, where base's median is `base`."""
        counts_from = base * (1 + self.share) + self.slack
        return math.log((counts_from + self.slack) / (base + self.slack))


@dataclass(frozen=True)
class Decision:
    """One metric of one case. `effect`, `low`, `high`, `detectable` are on the log scale, positive is worse.

    `base`, `head`: medians over the blocks, in the metric's unit, null without a block; `head_span`: head's lowest and
    highest block. `limit`: the margin on the effect's scale. `p_worse`, `p_better`: one-sided, adjusted by Holm once
    the family is known. `power`: the probability that a change as large as the margin would have been significant in
    a sample like this.
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
    power: float = 0.0
    detectable: float = math.inf

    @property
    def ratio(self) -> float | None:
        """Head over base as the effect has it; null where base is zero."""
        return self.as_ratio(self.effect)

    @property
    def shift(self) -> float | None:
        """Head minus base as the effect has it, in the metric's unit."""
        return self.as_shift(self.effect)

    def interval(self, reading: Literal["ratio", "shift"]) -> tuple[float | None, float | None]:
        """The 90 % interval from lower to higher; an end that so few blocks cannot give is null."""
        read = self.as_ratio if reading == "ratio" else self.as_shift
        ends = (self.high, self.low) if self.margin.higher_is_better else (self.low, self.high)
        return read(ends[0]), read(ends[1])

    def as_shift(self, effect: float) -> float | None:
        """What an effect means at base's median, in the metric's unit; no value falls below zero."""
        if self.base is None or not math.isfinite(effect):
            return None
        towards = -effect if self.margin.higher_is_better else effect
        slack = self.margin.slack
        return max(math.exp(towards) * (self.base + slack) - slack, 0.0) - self.base

    def as_ratio(self, effect: float) -> float | None:
        """What an effect means as head over base."""
        shift = self.as_shift(effect)
        return None if shift is None or not self.base else 1 + shift / self.base
