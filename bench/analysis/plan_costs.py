"""The cost of a chat, a chunk and a stop, solved from a few measured loads; pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from bench.record.plan import FIT, PlanLoad

FIT_WEIGHT = 10.0
Floats = NDArray[np.float64]
Amount = Callable[[PlanLoad], float | None]


@dataclass(frozen=True)
class Cost:
    """Of one resource: per chat, chunk and stop, and per second of all workers that were measured."""

    per_chat: float
    per_chunk: float
    per_stop: float
    per_s: float = 0.0

    def of(self, chats: float, chunks: float, stops: float, seconds: float = 0.0) -> float:
        """What this much work costs."""
        return self.per_chat * chats + self.per_chunk * chunks + self.per_stop * stops + self.per_s * seconds


def cost_of(rows: Sequence[PlanLoad], value: Amount, per_s: float, *, chunks: bool = True) -> Cost:
    """Per chat, chunk and stop, beside what the clock causes.

    `chunks`: whether chunks may cost something; a demand has more of them than the loads, so noise would be multiplied.
    """
    known = [(each, amount) for each in rows if (amount := value(each)) is not None]
    work = np.array([[each.chats, each.chunks * chunks, each.stops] for each, _amount in known], dtype=float)
    clock = [per_s * each.seconds for each, _amount in known]
    per_chat, per_chunk, per_stop = _solve(
        [each for each, _amount in known], work, [amount for _each, amount in known], clock
    )
    return Cost(per_chat, per_chunk, per_stop, per_s)


def cost_of_others(rows: Sequence[PlanLoad]) -> Cost:
    """CPU time of load and mock; an abort, one more request, costs them what a chat does."""
    work = np.array([[each.chats + each.stops, each.chunks, each.seconds] for each in rows], dtype=float)
    request, chunk, second = _solve(rows, work, [each.others_cpu_s for each in rows], [0.0] * len(rows))
    return Cost(request, chunk, request, second)


def _solve(rows: Sequence[PlanLoad], work: Floats, amounts: Sequence[float], clock: Sequence[float]) -> list[float]:
    """Costs that are not negative, by least squares of the relative errors (Lawson and Hanson's NNLS).

    `clock`: the part of each amount that is known. The load at 30 % of the knee counts most: the other two only divide
    its sum.
    """
    weights = np.array([FIT_WEIGHT if each.name == FIT else 1.0 for each in rows]) / np.maximum(amounts, 1e-9)
    scale = work.max(axis=0).clip(min=1.0)
    found, _residual = nnls(work / scale * weights[:, None], (np.asarray(amounts) - clock) * weights)
    return [float(each) for each in found / scale]


def store_cost(rows: Sequence[PlanLoad], value: Amount, per_s: float, *, chunks: bool) -> Cost | None:
    """A push costs its store nothing per chunk; a timer reads by the clock, but the longer the more streams it has."""
    return cost_of(rows, value, per_s, chunks=chunks) if any(value(each) is not None for each in rows) else None
