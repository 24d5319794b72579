"""Decides after each block whether a run is over, by the summary of what it has measured so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from bench.analysis.ending import ending_of
from bench.analysis.reading import Run, read_run
from bench.analysis.summary import summary_of
from bench.run.enough import fits, tight_enough
from bench.stats.paired import MIN_BLOCKS


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
