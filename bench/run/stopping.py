"""Decides after each block whether a run is over, by the summary of what it has measured so far."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import msgspec

from bench.analysis.choice import ending_of
from bench.analysis.reading import Run, read_run
from bench.analysis.summary import summary_of
from bench.stats.paired import MIN_BLOCKS, half_width

ENOUGH_SHARE = 0.10
ENOUGH_MS = 0.1


@dataclass
class Stopping:
    """Ends a run when it is sure, or when no further block fits into `minutes`; `say` shows what is still missing."""

    folder: Path
    minutes: float
    say: Callable[[str], None]
    _ends_s: list[float] = field(default_factory=lambda: [0.0])

    def more(self, done: int, took_s: float, medians_ms: Mapping[str, Sequence[float]]) -> bool:
        """Whether to measure another block, after `done` blocks in `took_s` seconds."""
        self._ends_s.append(took_s)
        fitting = fits(self._ends_s, self.minutes * 60)
        if done < MIN_BLOCKS:
            return fitting
        sure, text = judge(read_run(self.folder), medians_ms)
        self.say(f"after {done} blocks: {text}")
        return fitting and not sure


def judge(run: Run, medians_ms: Mapping[str, Sequence[float]]) -> tuple[bool, str]:
    """Whether the blocks so far are enough, and a line that says why or why not."""
    run = replace(run, manifest=msgspec.structs.replace(run.manifest, complete=True))
    faulted = {(row.strategy, row.scenario) for row in run.cases if row.fault}
    ending = ending_of(summary_of(run), run.manifest, faulted)
    if ending.sure is not None:
        return ending.sure, ending.text
    tight = tight_enough(medians_ms)
    return tight, f"{ending.text}, and medians are {'' if tight else 'not yet '}precise"


def loosest(values: Mapping[str, Sequence[float]]) -> tuple[str, float]:
    """The case with the least precise median, and half the width of its 95 % interval as a share of its centre.

    `values` are the p50 of the blocks so far, in ms, by case. The share is 0.0 where the half width is at most
    ENOUGH_MS, and infinite with a single block. Raises ValueError when there are no cases.
    """
    return max(((name, _share(blocks)) for name, blocks in values.items()), key=lambda each: each[1])


def tight_enough(values: Mapping[str, Sequence[float]]) -> bool:
    """Whether every case has MIN_BLOCKS blocks and an interval within ENOUGH_SHARE; true without cases."""
    if any(len(blocks) < MIN_BLOCKS for blocks in values.values()):
        return False
    return not values or loosest(values)[1] <= ENOUGH_SHARE


def fits(ends_s: Sequence[float], budget_s: float) -> bool:
    """Whether one more block ends within the budget; `ends_s` is 0 and when each block ended, in seconds.

    The first block is longer than the others (calibration, counting store operations, idling), so from the second on
    the next one is taken to be as long as the longest of those.
    """
    took_s = [end - begin for begin, end in pairwise(ends_s)]
    return ends_s[-1] + max(took_s[1:] or took_s) <= budget_s


def _share(blocks: Sequence[float]) -> float:
    half = half_width(blocks)
    if half <= ENOUGH_MS:
        return 0.0
    middle = statistics.fmean(blocks) if math.isfinite(half) else 0.0
    return half / middle if middle > 0 else math.inf
