"""Which strategy the advice chooses in each situation, and whether more blocks could change that.

The report writes the advice and a run decides when to end by the same code.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from bench.analysis.comparison import STOP
from bench.analysis.precision import describe
from bench.analysis.ranking import (
    Place,
    interval_of,
    median,
    names_of,
    place_of,
    ranked,
    slowest,
    without_misses,
)  # fmt: skip
from bench.record.manifest import Manifest
from bench.record.summary import ComparisonRow, Summary, SummaryCase
from bench.stats.sequential import early_level, widened
from bench.stats.wilcoxon import Interval
from bench.workload.strategies import is_special, strategy_rank

UNREPLICATED_RATIO = 1.25
"""Without enough blocks two medians differ only beyond this ratio: two runs differ by some 5 %, which an interval
within one run does not include."""
Cases = Sequence[SummaryCase]
Faulted = Collection[tuple[str, str]]
"""The (strategy, scenario) whose store was killed."""


@dataclass(frozen=True)
class Pick:
    """The quickest strategy without missed aborts, those level with it, the next one, and the slowest case of each."""

    leader: str
    level: list[str]
    second: str | None
    slowest: dict[str, SummaryCase]

    @property
    def chosen(self) -> tuple[str, ...]:
        """The leader and those level with it."""
        return (self.leader, *self.level)


@dataclass(frozen=True)
class Situations:
    """The cases that each question of the advice is answered from.

    `fewest`: strategy -> the number of workers that its case in `one` was really measured with, where it is not one.
    """

    usual: Cases
    one: Cases
    many: Cases
    bare: Cases
    down: Cases
    fewest: Mapping[str, int]

    @property
    def quick_after_outage(self) -> Cases:
        """The cases that rank the strategies which lost no abort when the store was killed."""
        sure = without_misses(self.down)
        usual = self.many or [case for case in self.usual if case.delivery]
        return [case for case in usual if case.strategy in sure]


def situations_of(summary: Summary, manifest: Manifest, faulted: Faulted = ()) -> Situations:
    """Sort the cases of a run by situation; a client that disconnects is in none, as no strategy takes part in it."""
    hangups = [name for name, scenario in manifest.scenarios.items() if scenario.abort_by == "hangup"]
    aborted = [
        case for case in summary.cases if case.aborts and case.scenario not in hangups and not is_special(case.scenario)
    ]
    usual = [case for case in aborted if (case.strategy, case.scenario) not in faulted]
    able = [case for case in usual if case.delivery]
    many = [case for case in able if case.workers > 1]
    one, fewest = _with_one_worker(able)
    return Situations(
        usual=usual,
        one=one,
        many=many,
        bare=[case for case in many if case.store != "redis"],
        down=[case for case in aborted if case.delivery and (case.strategy, case.scenario) in faulted],
        fewest=fewest,
    )


def _with_one_worker(able: Cases) -> tuple[Cases, Mapping[str, int]]:
    """The cases with one worker; a strategy not measured with one is taken from its fewest workers.

    Not so memory: with several workers it misses aborts that reach another one, which cannot happen with one worker.
    Only scenarios count in which some case had one worker, so that all strategies are ranked by the same.
    """
    alone = [case for case in able if case.workers == 1]
    streams, names = {case.scenario: case.streams for case in alone}, names_of(alone)
    others = [
        case for case in able if case.store != "memory" and case.scenario in streams and case.strategy not in names
    ]
    fewest = {name: min(case.workers for case in others if case.strategy == name) for name in names_of(others)}
    borrowed = [
        msgspec.structs.replace(case, workers=1, streams=streams[case.scenario])
        for case in others
        if case.workers == fewest[case.strategy]
    ]
    return [*alone, *borrowed], fewest


@dataclass(frozen=True)
class Decision:
    """Whether more blocks could change the advice: the comparisons that decide it, and those of them still open."""

    comparisons: int
    undecided: list[str] = field(default_factory=list)


class Chooser:
    """Chooses among cases by the comparisons and the floor of a summary."""

    def __init__(self, summary: Summary) -> None:
        self._floor_ms = (summary.floor and summary.floor.p50) or 0.0
        self._rows = {
            (Place(each.scenario, each.workers, each.streams), each.a, each.b): each
            for each in summary.comparisons
            if each.metric == STOP and each.verdict
        }

    def pick(self, cases: Cases, sure: Sequence[str]) -> Pick | None:
        """Of the strategies `sure`: the one whose longest median stop is the shortest, and those level with it.

        Where they share no place with a median, the slowest case of each counts. None without any median.
        """
        worst = slowest(cases, sure) or {name: case for each in sure for name, case in slowest(cases, [each]).items()}
        if not worst:
            return None
        leader, *others = sorted(worst, key=lambda name: median(worst[name]))
        level = []
        for name in sorted(others, key=strategy_rank):
            pairs = _shared(cases, leader, name)
            if pairs and not any(self._is_quicker(first, second) for first, second in pairs):
                level.append(name)
        return Pick(leader, level, next((name for name in others if name not in level), None), worst)

    def decision(self, situations: Situations) -> Decision:
        """Judge each comparison of a leader with another strategy that its situation allows, at the early level.

        It is decided when the leader is quicker in some place at that level, or when in every place the interval of
        that level lies within the floor, so that no difference will be claimed. Pairs that the run does not compare
        over blocks are not counted: more blocks would not compare them either.
        """
        counted: dict[tuple[str, str], bool] = {}
        after = situations.quick_after_outage
        for cases in (situations.one, situations.many, situations.bare, after):
            pick = self.pick(cases, without_misses(situations.down if cases is after else cases))
            for name in pick.slowest if pick else ():
                pairs = _shared(cases, pick.leader, name) if pick and name != pick.leader else []
                rows = [row for pair in pairs if (row := self._row(*pair)) is not None]
                if pick and rows:
                    decided = self._is_decided(rows, pick.leader)
                    counted[pick.leader, name] = counted.get((pick.leader, name), True) and decided
        return Decision(
            len(counted), [f"{name} against {leader}" for (leader, name), done in counted.items() if not done]
        )

    def _is_decided(self, rows: Sequence[ComparisonRow], leader: str) -> bool:
        early = [early_level(row.blocks) for row in rows if row.p_holm is not None]
        if len(early) < len(rows):
            return False
        quicker = any(
            row.verdict == ("faster" if row.a == leader else "slower")
            and row.p_holm is not None
            and row.p_holm < level
            and abs(row.shift_ms) > self._floor_ms
            for row, level in zip(rows, early, strict=True)
        )
        return quicker or all(self._is_level(row, level) for row, level in zip(rows, early, strict=True))

    def _is_level(self, row: ComparisonRow, alpha: float) -> bool:
        """Whether the difference lies within the floor, with the correction for all comparisons of the run."""
        if row.ci95.shift_ms is None:
            return False
        ends = widened(Interval(*row.ci95.shift_ms), row.blocks, alpha / len(self._rows))
        return -self._floor_ms < ends.low and ends.high < self._floor_ms

    def _row(self, one: SummaryCase, other: SummaryCase) -> ComparisonRow | None:
        place = place_of(one)
        return self._rows.get((place, one.strategy, other.strategy)) or self._rows.get(
            (place, other.strategy, one.strategy)
        )

    def _is_quicker(self, a: SummaryCase, b: SummaryCase) -> bool:
        """True when a's median stop is significantly shorter than b's; both in the same place.

        Decided by the run's comparison over blocks where there is one, else by intervals that do not overlap and a
        ratio beyond UNREPLICATED_RATIO. A difference below the floor is never claimed.
        """
        if median(b) - median(a) <= self._floor_ms:
            return False
        row = self._row(a, b)
        if row is not None and not row.verdict.startswith("needs"):
            return row.verdict == ("faster" if row.a == a.strategy else "slower")
        mine, theirs = interval_of(a), interval_of(b)
        return bool(mine and theirs and mine[1] < theirs[0] and median(b) > UNREPLICATED_RATIO * median(a))


def _shared(cases: Cases, one: str, other: str) -> list[tuple[SummaryCase, SummaryCase]]:
    """The cases of two strategies in the places where both have a median stop."""
    at = {(place_of(case), case.strategy): case for case in ranked(cases)}
    return [(at[place, one], at[place, other]) for place, own in at if own == other and (place, one) in at]


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
