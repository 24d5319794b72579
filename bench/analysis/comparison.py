"""Which strategy is faster: compared over the blocks of a run, for requests within a block are not independent."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from bench.analysis.blocks import Values, block_values
from bench.analysis.reading import CaseKey, Run
from bench.stats.paired import MIN_BLOCKS, holm, paired
from bench.stats.percentiles import DIGITS
from bench.workload.strategies import FLOOR, is_contender, is_special

__all__ = ["Comparison", "block_values", "compare", "comparisons_of", "corrected", "floor_spread_ms", "verdict"]

ALPHA = 0.05
MISSED_SHARE = 0.01
STOP = "upstream_stop_ms"
NEEDS = f"needs {MIN_BLOCKS} blocks"
Blocks = Mapping[int, float]
Ends = tuple[float, float]
Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class Comparison:
    """`a` against `b` over the blocks that both have: `shift` is a - b in the metric's unit, `ratio` is a / b.

    Both are Hodges-Lehmann estimates of the paired differences (of logarithms for the ratio, where all values are
    positive, else it is None); intervals and p are None below MIN_BLOCKS.
    """

    blocks: int
    shift: float
    ratio: float | None
    shift_ci95: Ends | None = None
    ratio_ci95: Ends | None = None
    p: float | None = None


def compare(a: Blocks, b: Blocks) -> Comparison | None:
    """Compare two strategies' block values of one metric; None without a common block.

    Pairing takes out what the machine did to a whole block. p and the ratio are those of the logarithms, where all
    values are positive, since noise grows with the value.
    """
    common = sorted(a.keys() & b.keys())
    if not common:
        return None
    pairs = [(a[block], b[block]) for block in common]
    shift = paired([one - other for one, other in pairs])
    positive = all(one > 0 and other > 0 for one, other in pairs)
    log_ratio = paired([math.log(one / other) for one, other in pairs]) if positive else None
    ratio = math.exp(log_ratio.estimate) if log_ratio else None
    if len(common) < MIN_BLOCKS:
        return Comparison(len(common), shift.estimate, ratio)
    low, high = log_ratio.t_interval() if log_ratio else (math.nan, math.nan)
    return Comparison(
        blocks=len(common),
        shift=shift.estimate,
        ratio=ratio,
        shift_ci95=shift.t_interval(),
        ratio_ci95=(math.exp(low), math.exp(high)) if log_ratio else None,
        p=(log_ratio or shift).p,
    )


def verdict(comparison: Comparison, p_holm: float | None, floor_spread: float | None = None) -> str:
    """`faster` or `slower` (a than b), `not told apart`, `below the floor: not claimed`, or `needs 5 blocks`.

    `floor_spread` is in the metric's unit: what this machine and instrument scatter by themselves.
    """
    if p_holm is None:
        return NEEDS
    if p_holm >= ALPHA:
        return "not told apart"
    if floor_spread is not None and abs(comparison.shift) < floor_spread:
        return "below the floor: not claimed"
    return "faster" if comparison.shift < 0 else "slower"


def comparisons_of(run: Run, cases: Sequence[dict[str, Any]], values: Values) -> list[dict[str, Any]]:
    """The summary's `comparisons`: who stops faster, in each scenario at each load.

    Every strategy is compared with the quickest contender, and with its neighbour in the ranking; `a` is the one that
    ranks lower. Holm's correction is over all of them. Strategies that missed more than 1 % of their aborts rank
    behind those that did not: their stops are timed, but a lost abort is no quick one.
    """
    spread = floor_spread_ms(run)
    compared = corrected((a, b, values[a, STOP], values[b, STOP]) for a, b in _pairs(cases, values))
    return [_entry(*each, spread) for each in compared]


def corrected(pairs: Iterable[tuple[Name, Name, Blocks, Blocks]]) -> list[tuple[Name, Name, Comparison, float | None]]:
    """Compare each `(a, b, values of a, values of b)`; the last is p after Holm's correction over all of them.

    It is None below MIN_BLOCKS; pairs without a common block are left out.
    """
    found = [(a, b, compared) for a, b, of_a, of_b in pairs if (compared := compare(of_a, of_b)) is not None]
    adjusted = iter(holm([compared.p for _a, _b, compared in found if compared.p is not None]))
    return [(a, b, compared, None if compared.p is None else next(adjusted)) for a, b, compared in found]


def _entry(a: CaseKey, b: CaseKey, compared: Comparison, p_holm: float | None, spread: float | None) -> dict[str, Any]:
    return {
        "scenario": a.scenario,
        "workers": a.workers,
        "streams": a.streams,
        "a": a.strategy,
        "b": b.strategy,
        "metric": STOP,
        "blocks": compared.blocks,
        "shift_ms": round(compared.shift, DIGITS),
        "ratio": None if compared.ratio is None else round(compared.ratio, DIGITS),
        "ci95": {"shift_ms": _rounded(compared.shift_ci95), "ratio": _rounded(compared.ratio_ci95)},
        "p": compared.p,
        "p_holm": p_holm,
        "verdict": verdict(compared, p_holm, spread),
    }


def floor_spread_ms(run: Run) -> float | None:
    """What a difference must exceed to be claimed, in ms: the floor's median stop, or the width of its middle half
    (interquartile range) where that is larger.

    None when the run has no floor. A difference smaller than this may be the instrument's.
    """
    stops = [chat.measured.upstream_stop_ms for chat in run.chats if chat.key.scenario == FLOOR]
    known = [stop_ms for stop_ms in stops if stop_ms is not None]
    if not known:
        return None
    low, middle, high = np.percentile(known, [25, 50, 75])
    return float(max(middle, high - low))


def _pairs(cases: Iterable[dict[str, Any]], values: Values) -> list[tuple[CaseKey, CaseKey]]:
    """Who is compared with whom, the lower ranked first; each pair once."""
    groups: dict[tuple[Any, ...], list[tuple[bool, float, CaseKey]]] = defaultdict(list)
    for case in cases:
        key = CaseKey(case["strategy"], case["scenario"], case["workers"], case["streams"])
        blocks = values.get((key, STOP))
        if blocks and not is_special(key.scenario):
            unreliable = case["missed"] > MISSED_SHARE * case["aborts"]
            groups[key[1:]].append((unreliable, float(np.median(list(blocks.values()))), key))
    pairs: dict[tuple[CaseKey, CaseKey], None] = {}
    for group in groups.values():
        ranked = [key for _unreliable, _p50, key in sorted(group)]
        quickest = next((key for key in ranked if is_contender(key.strategy)), ranked[0])
        place = ranked.index(quickest)
        pairs |= dict.fromkeys((key, quickest) for key in ranked[place + 1 :])
        pairs |= dict.fromkeys((quickest, key) for key in ranked[:place])
        pairs |= dict.fromkeys((lower, higher) for higher, lower in pairwise(ranked))
    return list(pairs)


def _rounded(ends: Ends | None) -> list[float] | None:
    return None if ends is None else [round(end, DIGITS) for end in ends]
