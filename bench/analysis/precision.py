"""How precise the p95 of every case is, against the goal of `--interval`, and what a wider interval is due to."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from scipy.special import stdtrit

from bench.analysis import health
from bench.analysis.blocks import samples_of
from bench.analysis.comparison import STOP
from bench.analysis.metrics import ChatMetrics
from bench.analysis.reading import Run, case_name
from bench.record.schema import CaseKey, CaseRow
from bench.record.summary import IntervalGoal, SummaryCase
from bench.stats.paired import MIN_BLOCKS
from bench.stats.percentiles import MIN_SAMPLES
from bench.workload.strategies import NONE

MOST_BLOCKS = 10_000
"""More are not worth an estimate."""
OUTER_FENCE = 3.0
"""Interquartile ranges beyond a quartile: what lies further out is far out (Tukey, Exploratory Data Analysis, 1977)."""


def interval_goal(run: Run, cases: Sequence[SummaryCase], goal: float) -> IntervalGoal:
    """Compare the widest interval of a stop's p95 with `goal`: half its width, as a share of the p95.

    Only intervals over blocks count. Cases without any stop, and the control that stops nothing, have no p95.
    """
    stopped = [case for case in cases if STOP in case.metrics and case.metrics[STOP].n and case.strategy != NONE]
    if not stopped:
        return IntervalGoal(goal=goal, reached=False, reasons=["no case has a stop whose p95 could be measured"])
    widest = max(stopped, key=half_width_of)
    half = half_width_of(widest)
    if half <= goal:
        return IntervalGoal(goal=goal, reached=True, case=case_name(widest.key), half_width=half)
    rows = [row for row in run.cases if row.key == widest.key]
    of_blocks = _p95_of_blocks(run, widest.key)
    more = blocks_needed(half, len(of_blocks), goal) - len(of_blocks) if math.isfinite(half) else None
    pace_s = block_s(run.cases)
    return IntervalGoal(
        goal=goal,
        reached=False,
        case=case_name(widest.key),
        half_width=half if math.isfinite(half) else None,
        more_blocks=more,
        more_minutes=None if more is None or pace_s is None else round(more * pace_s / 60, 1),
        reasons=[*_width(widest, of_blocks), *outliers(of_blocks), *_unhealthy(rows)],
    )


def half_width_of(case: SummaryCase) -> float:
    """Half the width of the p95's interval over blocks, as a share of the p95; infinite without one."""
    stop = case.metrics[STOP]
    if stop.ci95_of != "blocks" or not stop.p95 or stop.ci95.p95 is None:
        return math.inf
    low, high = stop.ci95.p95
    return (high - low) / 2 / stop.p95


def blocks_needed(half: float, blocks: int, goal: float) -> int:
    """The number of blocks at which a half width of `half` after `blocks` blocks falls to `goal`.

    By the current spread: it falls with the square root of the number of blocks, and with Student's quantile.
    """
    now = float(stdtrit(blocks - 1, 0.975)) / math.sqrt(blocks)
    counts = np.arange(blocks, MOST_BLOCKS + 1)
    fits = half * stdtrit(counts - 1, 0.975) / np.sqrt(counts) / now <= goal
    return int(counts[np.argmax(fits)]) if fits.any() else MOST_BLOCKS


def block_s(rows: Sequence[CaseRow]) -> float | None:
    """The median time from the start of a block to that of the next one, in seconds; None with a single block.

    The first block is longer (it counts store operations and measures idling), so it counts only where it must.
    """
    starts: dict[int, int] = {}
    for row in rows:
        starts[row.block] = min(row.started_ns, starts.get(row.block, row.started_ns))
    took = [(end - begin) / 1e9 for begin, end in pairwise(starts[block] for block in sorted(starts))]
    return statistics.median(took[1:] or took) if took else None


def outliers(of_blocks: Mapping[int, float]) -> list[str]:
    """A sentence for the blocks whose p95 lies beyond the outer fence of all of them, on the logarithm."""
    if len(of_blocks) < MIN_BLOCKS or min(of_blocks.values()) <= 0:
        return []
    low, high = np.quantile(np.log(list(of_blocks.values())), [0.25, 0.75])
    fence = OUTER_FENCE * (high - low)
    out = [block for block, value in of_blocks.items() if not low - fence <= math.log(value) <= high + fence]
    if not out:
        return []
    named = ", ".join(f"{block + 1} ({of_blocks[block]:.1f} ms)" for block in out)
    rest = statistics.median(value for block, value in of_blocks.items() if block not in out)
    return [f"outliers: the p95 of block {named}, where the others have {rest:.1f} ms at the median"]


def describe(goal: IntervalGoal) -> str:
    """A line: the widest case with its limit, what is missing, and why."""
    if goal.reached:
        width = f"the widest is {goal.case}, ±{goal.half_width or 0.0:.1%}"
        return f"every p95 has an interval of at most ±{goal.goal:.0%}: {width}"
    width = "none yet" if goal.half_width is None else f"±{goal.half_width:.0%}"
    head = f"widest p95: {goal.case}, {width} (goal ±{goal.goal:.0%})" if goal.case else "no p95"
    if goal.more_blocks is not None:
        minutes = "" if goal.more_minutes is None else f" = {goal.more_minutes:.0f} minutes"
        head += f", needs {goal.more_blocks} more blocks{minutes} by the current spread"
    return "; ".join([head, *goal.reasons])


def _p95_of_blocks(run: Run, key: CaseKey) -> dict[int, float]:
    chats: dict[int, list[ChatMetrics]] = defaultdict(list)
    for chat in run.chats:
        if chat.key == key:
            chats[chat.block].append(chat.measured)
    stops = {block: samples_of(each, STOP) for block, each in sorted(chats.items())}
    return {block: float(np.quantile(each, 0.95)) for block, each in stops.items() if len(each) >= MIN_SAMPLES}


def _width(case: SummaryCase, of_blocks: Mapping[int, float]) -> list[str]:
    stop = case.metrics[STOP]
    if not math.isfinite(half_width_of(case)):
        return [
            f"an interval needs {MIN_BLOCKS} blocks of {MIN_SAMPLES} stops and 72 stops in all: there are"
            f" {len(of_blocks)} such blocks and {stop.n} stops"
        ]
    positive = min(of_blocks.values()) > 0
    spread = math.expm1(statistics.stdev(map(math.log, of_blocks.values()))) if positive else math.inf
    return [f"the p95 of its {len(of_blocks)} blocks spreads by {spread:.0%} (one standard deviation)"]


def _unhealthy(rows: Sequence[CaseRow]) -> list[str]:
    found = [(row.block, problems) for row in rows if (problems := health.problems(row))]
    return [f"unhealthy: {len(found)} of {len(rows)} blocks, the first: {found[0][1][0]}"] if found else []
