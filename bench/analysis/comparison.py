"""Which strategy is faster: compared over the blocks of a run, since chats within a block are not independent."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from bench.analysis.blocks import BlockValues
from bench.analysis.reading import CaseKey, Run
from bench.record.summary import ComparisonIntervals, ComparisonRow, SummaryCase
from bench.stats.paired import MIN_BLOCKS, holm, paired
from bench.stats.percentiles import DIGITS
from bench.stats.sequential import EARLY_ALPHA
from bench.stats.wilcoxon import Interval
from bench.workload.strategies import FLOOR, is_contender, is_special

ALPHA = 0.05
MISSED_SHARE = 0.01
STOP = "upstream_stop_ms"
NEEDS = f"needs {MIN_BLOCKS} blocks"
Blocks = Mapping[int, float]
Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class Comparison:
    """`a` against `b` over the blocks that both have: `shift` is a - b in the metric's unit, `ratio` is a / b.

    Both are Hodges-Lehmann estimates of the paired differences (of logarithms for the ratio, which is None unless all
    values are positive); intervals and p are None below MIN_BLOCKS.
    """

    blocks: int
    shift: float
    ratio: float | None
    shift_ci95: Interval | None = None
    ratio_ci95: Interval | None = None
    p: float | None = None


def compare(a: Blocks, b: Blocks) -> Comparison | None:
    """Compare two strategies' block values of one metric; None without a common block.

    Pairing takes out what the machine did to a whole block. p is that of the logarithms, where all values are positive,
    since noise grows with the value.
    """
    common = sorted(a.keys() & b.keys())
    if not common:
        return None
    pairs = [(a[block], b[block]) for block in common]
    shift = paired([one - other for one, other in pairs])
    positive = all(one > 0 and other > 0 for one, other in pairs)
    logs = paired([math.log(one / other) for one, other in pairs]) if positive else None
    ratio = math.exp(logs.estimate) if logs else None
    if len(common) < MIN_BLOCKS:
        return Comparison(len(common), shift.estimate, ratio)
    ratio_ci95 = Interval(*map(math.exp, logs.t_interval())) if logs else None
    return Comparison(len(common), shift.estimate, ratio, shift.t_interval(), ratio_ci95, (logs or shift).p)


def verdict(
    comparison: Comparison, p_holm: float | None, floor_spread: float | None = None, *, alpha: float = ALPHA
) -> str:
    """`faster` or `slower` (a than b), `not told apart`, `below the floor: not claimed`, or `needs 5 blocks`.

    `floor_spread` is in the metric's unit: the scatter of this machine and instrument by themselves, or what their
    clocks leave open.
    """
    if p_holm is None:
        return NEEDS
    if p_holm >= alpha:
        return "not told apart"
    if floor_spread is not None and abs(comparison.shift) < floor_spread:
        return "below the floor: not claimed"
    return "faster" if comparison.shift < 0 else "slower"


def comparisons_of(run: Run, cases: Sequence[SummaryCase], values: BlockValues) -> list[ComparisonRow]:
    """The summary's `comparisons`: which strategy stops faster, in each scenario at each load.

    Every strategy is compared with the fastest contender, and with its neighbour in the ranking; `a` ranks lower.
    Holm's correction is over all of them. Strategies that missed more than 1 % of their aborts rank behind the others.
    A run that could end early has spent EARLY_ALPHA of its error rate on that.
    """
    spread = floor_spread_ms(run)
    alpha = ALPHA - EARLY_ALPHA if run.manifest.settings.get("early") else ALPHA
    uncertain = {case.key: case.metrics[STOP].clock_uncertainty or 0.0 for case in cases if STOP in case.metrics}
    compared = corrected((a, b, values[a, STOP], values[b, STOP]) for a, b in _pairs(cases, values))
    return [
        ComparisonRow(
            scenario=a.scenario,
            workers=a.workers,
            streams=a.streams,
            a=a.strategy,
            b=b.strategy,
            metric=STOP,
            blocks=each.blocks,
            shift_ms=round(each.shift, DIGITS),
            ratio=None if each.ratio is None else round(each.ratio, DIGITS),
            ci95=ComparisonIntervals(shift_ms=_rounded(each.shift_ci95), ratio=_rounded(each.ratio_ci95)),
            p=each.p,
            p_holm=p_holm,
            verdict=verdict(
                each, p_holm, max(spread or 0.0, uncertain.get(a, 0.0) + uncertain.get(b, 0.0)), alpha=alpha
            ),
        )
        for a, b, each, p_holm in compared
    ]


def corrected(pairs: Iterable[tuple[Name, Name, Blocks, Blocks]]) -> list[tuple[Name, Name, Comparison, float | None]]:
    """Compare each `(a, b, values of a, values of b)`; the last is p after Holm's correction over all of them.

    It is None below MIN_BLOCKS; pairs without a common block are left out.
    """
    found = [(a, b, compared) for a, b, of_a, of_b in pairs if (compared := compare(of_a, of_b)) is not None]
    adjusted = iter(holm([compared.p for _a, _b, compared in found if compared.p is not None]))
    return [(a, b, compared, None if compared.p is None else next(adjusted)) for a, b, compared in found]


def floor_spread_ms(run: Run) -> float | None:
    """What a difference must exceed to be claimed: the floor's median stop or, where larger, its interquartile range.

    None when the run has no floor. A smaller difference may be the instrument's.
    """
    stops = [chat.measured.upstream_stop_ms for chat in run.chats if chat.key.scenario == FLOOR]
    known = [stop_ms for stop_ms in stops if stop_ms is not None]
    if not known:
        return None
    low, middle, high = np.percentile(known, [25, 50, 75])
    return float(max(middle, high - low))


def _pairs(cases: Iterable[SummaryCase], values: BlockValues) -> list[tuple[CaseKey, CaseKey]]:
    """The pairs to compare, the lower ranked first; each pair once."""
    groups: dict[tuple[str, int, int], list[tuple[bool, float, CaseKey]]] = defaultdict(list)
    for case in cases:
        key = case.key
        blocks = values.get((key, STOP))
        blank = STOP in case.metrics and "p50" in case.metrics[STOP].blank
        if blocks and not blank and not is_special(key.scenario):
            unreliable = case.missed > MISSED_SHARE * case.aborts
            groups[key[1:]].append((unreliable, float(np.median(list(blocks.values()))), key))
    pairs: dict[tuple[CaseKey, CaseKey], None] = {}
    for group in groups.values():
        ranked = [key for _unreliable, _median, key in sorted(group)]
        fastest = next((key for key in ranked if is_contender(key.strategy)), ranked[0])
        place = ranked.index(fastest)
        pairs |= dict.fromkeys((key, fastest) for key in ranked[place + 1 :])
        pairs |= dict.fromkeys((fastest, key) for key in ranked[:place])
        pairs |= dict.fromkeys((lower, higher) for higher, lower in pairwise(ranked))
    return list(pairs)


def _rounded(ends: Interval | None) -> tuple[float, float] | None:
    return None if ends is None else (round(ends.low, DIGITS), round(ends.high, DIGITS))
