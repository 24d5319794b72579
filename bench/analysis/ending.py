"""Whether the blocks of a run are enough for what it was asked, and the sentence that says why or why not."""

from __future__ import annotations

from dataclasses import dataclass

from bench.analysis.choice import Chooser, Faulted, situations_of
from bench.analysis.precision import describe
from bench.record.manifest import Manifest
from bench.record.summary import Summary


@dataclass(frozen=True)
class Ending:
    """`sure` is None where no comparison decides the advice, so that something else must."""

    sure: bool | None
    text: str


def ending_of(summary: Summary, manifest: Manifest, faulted: Faulted) -> Ending:
    """Judge a run by the goal of `--interval` or, without one, by the comparisons that decide its advice.

    An invalid run is never sure: an unhealthy block may become one of few.
    """
    problem = "" if summary.valid else f"; invalid so far: {summary.problems[0]}"
    if summary.interval is not None:
        return Ending(summary.interval.reached and summary.valid, describe(summary.interval) + problem)
    if problem:
        return Ending(False, f"more blocks may make the run valid{problem}")
    found = Chooser(summary).decision(situations_of(summary, manifest, faulted))
    if not found.comparisons:
        return Ending(None, "no comparison decides the advice")
    if found.undecided:
        return Ending(False, f"undecided: {', '.join(found.undecided)}")
    return Ending(True, f"decided: all {found.comparisons} comparisons on which the advice rests")
