"""Decides after each block whether a run is over, by the summary of what it has measured so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from bench.analysis.choice import Chooser, situations_of
from bench.analysis.precision import describe
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
    """Whether the blocks so far are enough, and a line that says why or why not.

    They never are while the run is invalid: an unhealthy block may become one of few.
    """
    run = replace(run, manifest=msgspec.structs.replace(run.manifest, complete=True))
    summary = summary_of(run)
    if summary.interval is not None:
        text = describe(summary.interval)
        return summary.interval.reached and summary.valid, _with_problem(text, summary.problems)
    if not summary.valid:
        return False, _with_problem("more blocks may make the run valid", summary.problems)
    faulted = {(row.strategy, row.scenario) for row in run.cases if row.fault}
    found = Chooser(summary).decision(situations_of(summary, run.manifest, faulted))
    if not found.comparisons:
        tight = tight_enough(medians_ms)
        return tight, f"no comparison decides the advice, and medians are {'' if tight else 'not yet '}precise"
    if found.undecided:
        return False, f"undecided: {', '.join(found.undecided)}"
    return True, f"decided: all {found.comparisons} comparisons on which the advice rests"


def _with_problem(text: str, problems: Sequence[str]) -> str:
    return f"{text}; invalid so far: {problems[0]}" if problems else text
