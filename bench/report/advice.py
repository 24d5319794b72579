"""Which strategy for which situation, on what evidence, and what would change the answer: from the summary alone."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from bench.analysis.choice import UNREPLICATED_RATIO, Chooser, Situations, situations_of
from bench.analysis.comparison import STOP
from bench.analysis.ranking import names_of, ranked, slowest, without_misses
from bench.record.manifest import Manifest
from bench.record.summary import Summary, SummaryCase
from bench.report.cases import CPU, missed_of
from bench.report.formatting import bench_command
from bench.report.pages import sentence, sentences
from bench.stats.paired import MIN_BLOCKS
from bench.workload.strategies import is_special

ONE, MANY, BARE, OUTAGE = "One worker", "Several workers", "No Redis", "Must survive a restart of the store"
INSTANT_MS = 100.0  # what people perceive as instant (Nielsen, Usability Engineering, 1993, section 5.5)
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
    found, chooser = situations_of(summary, manifest, faulted), Chooser(summary)
    answers = [
        _answer(chooser, ONE, found.one, "one worker (make bench WORKERS=1)", found.fewest),
        _answer(chooser, MANY, found.many, "several workers (make bench WORKERS=2)"),
        _answer(chooser, BARE, found.bare, "several workers and without Redis (make bench BACKEND=postgres)"),
        _after_outage(chooser, found, bench_command(manifest, "outage")),
    ]
    return Advice(answers, _changes(cases, found.usual, found.many, answers[1].choice), _footing(summary, manifest))


def _answer(
    chooser: Chooser, question: str, cases: Cases, lacking: str, borrowed: Mapping[str, int] | None = None
) -> Answer:
    """The answer from these cases; `borrowed`: strategy -> number of workers it was really measured with."""
    sure = without_misses(cases)
    pick = chooser.pick(cases, sure)
    missed = {name: missed_of(cases, name) for name in names_of(cases) if name not in sure}
    nearest = min(sorted(missed), key=lambda name: missed[name][0] / max(1, missed[name][1]), default=None)
    text = sentence(
        "advice.choice", cases=cases, lacking=lacking, pick=pick, sure=sure, missing=sorted(missed),
        nearest=nearest, borrowed=borrowed or {},
    )  # fmt: skip
    return Answer(question, pick.chosen if pick else (), text)


def _after_outage(chooser: Chooser, found: Situations, command: str) -> Answer:
    """Of the strategies that lost no accepted abort while the store was down, the quickest while it was there."""
    sure = without_misses(found.down)
    pick = chooser.pick(found.quick_after_outage, sure)
    chosen = pick.chosen if pick else tuple(sure)
    text = sentence("advice.outage", down=found.down, command=command, sure=sure, chosen=chosen, pick=pick)
    return Answer(OUTAGE, chosen, text)


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
