"""How many aborts were lost, and how many could be lost without our having seen one: no loss in ten proves little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from scipy.special import betaincinv  # scipy.stats takes a second to import

LEVEL = 0.95


@dataclass(frozen=True)
class Losses:
    """Aborts that counted, and how many of them never stopped their upstream."""

    lost: int = 0
    aborts: int = 0

    def __add__(self, other: Self) -> Losses:
        return Losses(self.lost + other.lost, self.aborts + other.aborts)

    @property
    def at_most(self) -> float:
        """The largest share of losses that is not too unlikely: Clopper and Pearson's one-sided limit; 1 without any.

        For none of n it is nearly 3 / n (Hanley and Lippman-Hand, If nothing goes wrong, JAMA 249, 1983).
        """
        return _upper(self.lost, self.aborts, LEVEL)

    @property
    def sentence(self) -> str:
        """As people read it."""
        return f"{self.lost} of {self.aborts:,} aborts lost: at most {100 * self.at_most:.2g} % ({100 * LEVEL:g} %)"


def proportion_interval(part: int, whole: int) -> tuple[float, float]:
    """The exact 95 % interval of a share (Clopper and Pearson 1934); (0, 1) when nothing counted.

    With none of n the upper end is what can be hidden in n: 0 of 300 may still be 1.2 %.
    """
    return 1 - _upper(whole - part, whole, 0.975), _upper(part, whole, 0.975)


def _upper(part: int, whole: int, level: float) -> float:
    """Clopper and Pearson's one-sided upper limit of a share: a quantile of a beta distribution."""
    return float(betaincinv(part + 1, whole - part, level)) if part < whole else 1.0
