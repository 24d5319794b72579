"""What advice may use of a summary, and when it calls one strategy quicker than another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bench.record.manifest import Manifest
from bench.record.summary import Summary, SummaryCase
from bench.report.cases import STOP, Place, interval_of, median, place_of
from bench.workload.strategies import is_special

UNREPLICATED_RATIO = 1.25
"""Without enough blocks two medians differ only beyond this ratio: two runs differ by some 5 %, which an interval
within one run does not include."""


@dataclass(frozen=True)
class Evidence:
    """The cases that advice may use; `faulted` are the (strategy, scenario) whose store was killed."""

    cases: list[SummaryCase]
    faulted: Collection[tuple[str, str]]
    floor_ms: float
    verdicts: Mapping[tuple[Place, str, str], str]
    hangups: Collection[str]  # scenarios whose clients disconnect: no strategy takes part in that

    def usual(self) -> list[SummaryCase]:
        """Cases with counted aborts while the store was available."""
        pressed = [case for case in self.cases if case.scenario not in self.hangups]
        return [case for case in pressed if case.aborts and not self.in_outage(case)]

    def in_outage(self, case: SummaryCase) -> bool:
        """Whether the store was killed in this case."""
        return (case.strategy, case.scenario) in self.faulted

    def quicker(self, a: SummaryCase, b: SummaryCase) -> bool:
        """True when a's median stop is significantly shorter than b's; both in the same place.

        Decided by the run's comparison over blocks where there is one, else by intervals that do not overlap and a
        ratio beyond UNREPLICATED_RATIO. A difference below the floor is never claimed.
        """
        if median(b) - median(a) <= self.floor_ms:
            return False
        for one, other, word in ((a, b, "faster"), (b, a, "slower")):
            verdict = self.verdicts.get((place_of(a), one.strategy, other.strategy))
            if verdict is not None and not verdict.startswith("needs"):
                return verdict == word
        mine, theirs = interval_of(a), interval_of(b)
        return bool(mine and theirs and mine[1] < theirs[0] and median(b) > UNREPLICATED_RATIO * median(a))


def gather(summary: Summary, manifest: Manifest, faulted: Collection[tuple[str, str]]) -> Evidence:
    """Take the cases of strategies and their comparisons; floor and calibration are no strategies."""
    verdicts = {
        (Place(each.scenario, each.workers, each.streams), each.a, each.b): each.verdict
        for each in summary.comparisons
        if each.metric == STOP and each.verdict
    }
    cases = [case for case in summary.cases if not is_special(case.scenario)]
    hangups = [name for name, scenario in manifest.scenarios.items() if scenario.abort_by == "hangup"]
    return Evidence(cases, faulted, (summary.floor and summary.floor.p50) or 0.0, verdicts, hangups)
