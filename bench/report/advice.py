"""Which strategy for which situation, on what evidence, and what would change the answer: from the summary alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from bench.record.manifest import Manifest
from bench.record.summary import Summary, SummaryCase
from bench.report.cases import (
    CPU,
    STOP,
    Place,
    interval_of,
    median,
    missed_of,
    names_of,
    place_of,
    ranked,
    slowest,
    without_misses,
)  # fmt: skip
from bench.report.formatting import bench_command
from bench.report.pages import sentence, sentences
from bench.stats.paired import MIN_BLOCKS
from bench.workload.strategies import is_special, strategy_rank

ONE, MANY, BARE, OUTAGE = "One worker", "Several workers", "No Redis", "Must survive a restart of the store"
INSTANT_MS = 100.0  # what people perceive as instant (Nielsen, Usability Engineering, 1993, section 5.5)
UNREPLICATED_RATIO = 1.25
"""Without enough blocks two medians differ only beyond this ratio: two runs differ by some 5 %, which an interval
within one run does not include."""
Cases = Sequence[SummaryCase]


@dataclass(frozen=True)
class Answer:
    """The strategies for one situation; `choice` is empty when the data does not suffice, and `text` names the gap."""

    question: str
    choice: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Advice:
    """Answers, what would change them, and their evidence: sentences whose figures are all from the run."""

    answers: list[Answer]
    changes: list[str] = field(default_factory=list)
    footing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Pick:
    """The quickest strategy without missed aborts, those level with it, the next one, and the slowest case of each."""

    leader: str
    level: list[str]
    second: str | None
    slowest: dict[str, SummaryCase]

    @property
    def chosen(self) -> tuple[str, ...]:
        return (self.leader, *self.level)


def advise(summary: Summary, manifest: Manifest, faulted: Collection[tuple[str, str]] = ()) -> Advice:
    """Answer from the summary alone; `faulted` are the (strategy, scenario) whose store was killed.

    Of the strategies that missed no abort, the answer is the one whose longest median stop over all scenarios is the
    shortest, with those that are not significantly slower. An invalid or QUICK run answers nothing.
    """
    if manifest.is_quick or not summary.valid:
        text = sentence("advice.no_answer", valid=summary.valid)
        footing = _footing(summary, manifest) if summary.valid else []
        return Advice([Answer(question, (), text) for question in (ONE, MANY, BARE, OUTAGE)], footing=footing)
    cases = [case for case in summary.cases if not is_special(case.scenario)]
    # Where clients disconnect, no strategy takes part in the stop.
    hangups = [name for name, scenario in manifest.scenarios.items() if scenario.abort_by == "hangup"]
    aborted = [case for case in cases if case.aborts and case.scenario not in hangups]
    usual = [case for case in aborted if (case.strategy, case.scenario) not in faulted]
    down = [case for case in cases if case.aborts and case.delivery and (case.strategy, case.scenario) in faulted]
    able = [case for case in usual if case.delivery]
    many = [case for case in able if case.workers > 1]
    bare = [case for case in many if case.store != "redis"]
    chooser = _Chooser(summary)
    answers = [
        chooser.for_one(able),
        chooser.choose(MANY, many, "several workers (make bench WORKERS=2)"),
        chooser.choose(BARE, bare, "several workers and without Redis (make bench BACKEND=postgres)"),
        chooser.after_outage(
            down, many or [case for case in usual if case.delivery], bench_command(manifest, "outage")
        ),
    ]
    return Advice(answers, _changes(cases, usual, many, answers[1].choice), _footing(summary, manifest))


class _Chooser:
    """Chooses among cases by the comparisons and the floor of a summary."""

    def __init__(self, summary: Summary) -> None:
        self._floor_ms = (summary.floor and summary.floor.p50) or 0.0
        self._verdicts = {
            (Place(each.scenario, each.workers, each.streams), each.a, each.b): each.verdict
            for each in summary.comparisons
            if each.metric == STOP and each.verdict
        }

    def for_one(self, usual: Cases) -> Answer:
        """One worker; a strategy not measured with one is taken from its fewest workers, and the text names it.

        Not so memory: with several workers it misses aborts that reach another one, which cannot happen with one
        worker. Only scenarios count in which some case had one worker, so that all strategies are ranked by the same.
        """
        alone = [case for case in usual if case.workers == 1]
        streams, names = {case.scenario: case.streams for case in alone}, names_of(alone)
        others = [
            case for case in usual if case.store != "memory" and case.scenario in streams and case.strategy not in names
        ]
        fewest = {name: min(case.workers for case in others if case.strategy == name) for name in names_of(others)}
        borrowed = [
            msgspec.structs.replace(case, workers=1, streams=streams[case.scenario])
            for case in others
            if case.workers == fewest[case.strategy]
        ]
        return self.choose(ONE, [*alone, *borrowed], "one worker (make bench WORKERS=1)", fewest)

    def choose(self, question: str, cases: Cases, lacking: str, borrowed: Mapping[str, int] | None = None) -> Answer:
        """The answer from these cases; `borrowed`: strategy -> number of workers it was really measured with."""
        sure = without_misses(cases)
        pick = self._pick(cases, sure)
        missed = {name: missed_of(cases, name) for name in names_of(cases) if name not in sure}
        nearest = min(sorted(missed), key=lambda name: missed[name][0] / max(1, missed[name][1]), default=None)
        text = sentence(
            "advice.choice", cases=cases, lacking=lacking, pick=pick, sure=sure, missing=sorted(missed),
            nearest=nearest, borrowed=borrowed or {},
        )  # fmt: skip
        return Answer(question, pick.chosen if pick else (), text)

    def after_outage(self, down: Cases, usual: Cases, command: str) -> Answer:
        """Of the strategies that lost no accepted abort in the cases `down`, the quickest while the store was there."""
        sure = without_misses(down)
        pick = self._pick([case for case in usual if case.strategy in sure], sure)
        chosen = pick.chosen if pick else tuple(sure)
        text = sentence("advice.outage", down=down, command=command, sure=sure, chosen=chosen, pick=pick)
        return Answer(OUTAGE, chosen, text)

    def _pick(self, cases: Cases, sure: Sequence[str]) -> _Pick | None:
        """The rule of `advise`; where the strategies share no place with a median, the slowest case of each counts."""
        worst = slowest(cases, sure) or {name: case for each in sure for name, case in slowest(cases, [each]).items()}
        if not worst:
            return None
        leader, *others = sorted(worst, key=lambda name: median(worst[name]))
        at = {(place_of(case), case.strategy): case for case in ranked(cases)}
        level = []
        for name in sorted(others, key=strategy_rank):
            pairs = [(at[place, leader], at[place, name]) for place, own in at if own == name and (place, leader) in at]
            if pairs and not any(self._is_quicker(first, second) for first, second in pairs):
                level.append(name)
        return _Pick(leader, level, next((name for name in others if name not in level), None), worst)

    def _is_quicker(self, a: SummaryCase, b: SummaryCase) -> bool:
        """True when a's median stop is significantly shorter than b's; both in the same place.

        Decided by the run's comparison over blocks where there is one, else by intervals that do not overlap and a
        ratio beyond UNREPLICATED_RATIO. A difference below the floor is never claimed.
        """
        if median(b) - median(a) <= self._floor_ms:
            return False
        for one, other, word in ((a, b, "faster"), (b, a, "slower")):
            verdict = self._verdicts.get((place_of(a), one.strategy, other.strategy))
            if verdict is not None and not verdict.startswith("needs"):
                return verdict == word
        mine, theirs = interval_of(a), interval_of(b)
        return bool(mine and theirs and mine[1] < theirs[0] and median(b) > UNREPLICATED_RATIO * median(a))


def _changes(cases: Cases, usual: Cases, many: Cases, chosen: Collection[str]) -> list[str]:
    """Situations in which another strategy than `chosen` would do, as far as the cases `many` show them."""
    flowing = [case for case in many if case.scenario == "flowing"] or many
    main = Counter(case.workers for case in flowing).most_common(1)[0][0] if flowing else 0
    sure = set(without_misses(many)) - set(chosen)
    others = [case for case in ranked(flowing) if case.workers == main and case.strategy in sure]
    first = {case.delivery: case for case in reversed(others)}
    poll = first.get("poll")
    hanging = [case for case in usual if case.strategy == "disconnect" and case.workers == main]
    return sentences(
        "advice.changes", timer=first.get("timer"), poll=poll, instant_ms=INSTANT_MS, cases=many,
        worst=slowest(many, [poll.strategy])[poll.strategy] if poll else None,
        steady={case.strategy: case for case in cases if case.scenario == "steady" and CPU in case.metrics},
        left=slowest(hanging, ["disconnect"]).get("disconnect"),
        memory=names_of(case for case in many if case.missed and case.store == "memory"),
    )  # fmt: skip


def _footing(summary: Summary, manifest: Manifest) -> list[str]:
    """The evidence: floor, calibration, number of blocks, machine."""
    stops = [case.metrics[STOP] for case in summary.cases if STOP in case.metrics]
    return sentences(
        "advice.footing", summary=summary, manifest=manifest, needed=MIN_BLOCKS, ratio=UNREPLICATED_RATIO,
        blocks=min((case.blocks for case in summary.cases if case.blocks), default=manifest.blocks or 1),
        units={unit for stop in stops if stop.ci95.p50 and (unit := stop.ci95_of)},
    )  # fmt: skip
