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
    interval_of,
    median,
    missed_of,
    names_of,
    place_of,
    ranked,
    slowest,
    without_misses,
)
from bench.report.evidence import UNREPLICATED_RATIO, Evidence, gather
from bench.report.formatting import bench_command
from bench.report.pages import sentence
from bench.stats.paired import MIN_BLOCKS
from bench.workload.strategies import strategy_rank

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


@dataclass(frozen=True)
class _Pick:
    """The quickest strategy without missed aborts, those level with it, and the slowest case of each."""

    leader: str
    level: list[str]
    slowest: dict[str, SummaryCase]

    @property
    def chosen(self) -> tuple[str, ...]:
        return (self.leader, *self.level)

    @property
    def second(self) -> str | None:
        return min(set(self.slowest) - set(self.chosen), key=lambda name: median(self.slowest[name]), default=None)


def advise(summary: Summary, manifest: Manifest, faulted: Collection[tuple[str, str]] = ()) -> Advice:
    """Answer from the summary alone; `faulted` are the (strategy, scenario) whose store was killed.

    Of the strategies that missed no abort, the answer is the one whose longest median stop over all scenarios is the
    shortest, with those that are not significantly slower. An invalid or QUICK run answers nothing.
    """
    if manifest.is_quick or not summary.valid:
        text = sentence("advice.no_answer", valid=summary.valid)
        footing = _footing(summary, manifest) if summary.valid else []
        return Advice([Answer(question, (), text) for question in (ONE, MANY, BARE, OUTAGE)], footing=footing)
    evidence = gather(summary, manifest, faulted)
    usual = [case for case in evidence.usual() if case.delivery]
    many = [case for case in usual if case.workers > 1]
    several = _choose(MANY, evidence, many, "several workers (make bench WORKERS=2)")
    bare = [case for case in many if case.store != "redis"]
    answers = [
        _for_one(evidence, usual),
        several,
        _choose(BARE, evidence, bare, "several workers and without Redis (make bench BACKEND=postgres)"),
        _after_outage(evidence, many or usual, bench_command(manifest, "outage")),
    ]
    return Advice(answers, _changes(evidence, many, several.choice), _footing(summary, manifest))


def _for_one(evidence: Evidence, usual: Cases) -> Answer:
    """One worker; a strategy that was not measured with one is taken from its fewest workers, and the text names it.

    Not so memory: with several workers it misses aborts that reach another one, which cannot happen with one worker.
    Only scenarios count in which some case had one worker, so that all strategies are ranked by the same ones.
    """
    alone = [case for case in usual if case.workers == 1]
    streams = {case.scenario: case.streams for case in alone}
    others = [
        case
        for case in usual
        if case.workers > 1 and case.store != "memory" and case.scenario in streams
        and case.strategy not in names_of(alone)
    ]  # fmt: skip
    fewest = {name: min(case.workers for case in others if case.strategy == name) for name in names_of(others)}
    borrowed = [
        msgspec.structs.replace(case, workers=1, streams=streams[case.scenario])
        for case in others
        if case.workers == fewest[case.strategy]
    ]
    return _choose(ONE, evidence, [*alone, *borrowed], "one worker (make bench WORKERS=1)", fewest)


def _choose(
    question: str, evidence: Evidence, cases: Cases, lacking: str, borrowed: Mapping[str, int] | None = None
) -> Answer:
    """The answer from these cases; `borrowed`: strategy -> number of workers it was really measured with."""
    sure = without_misses(cases)
    pick = _pick(evidence, cases, sure)
    missing = [name for name in names_of(cases) if name not in sure]
    nearest = min(sorted(missing), key=lambda name: _ratio(*missed_of(cases, name)), default=None)
    text = sentence(
        "advice.choice", cases=cases, lacking=lacking, pick=pick, sure=sure, missing=sorted(missing), nearest=nearest,
        borrowed=borrowed or {},
    )  # fmt: skip
    return Answer(question, pick.chosen if pick else (), text)


def _pick(evidence: Evidence, cases: Cases, sure: Sequence[str]) -> _Pick | None:
    """The rule of `advise`; where the strategies share no place with a median, each one's own slowest case counts."""
    worst = slowest(cases, sure) or {name: case for each in sure for name, case in slowest(cases, [each]).items()}
    if not worst:
        return None
    leader = min(worst, key=lambda name: median(worst[name]))
    at = {(place_of(case), case.strategy): case for case in ranked(cases)}
    level = []
    for name in sorted(set(worst) - {leader}, key=strategy_rank):
        pairs = [(at[place, leader], at[place, name]) for place, own in at if own == name and (place, leader) in at]
        if pairs and not any(evidence.quicker(first, second) for first, second in pairs):
            level.append(name)
    return _Pick(leader, level, worst)


def _after_outage(evidence: Evidence, usual: Cases, command: str) -> Answer:
    down = [case for case in evidence.cases if case.aborts and evidence.in_outage(case) and case.delivery]
    sure = without_misses(down)
    pick = _pick(evidence, [case for case in usual if case.strategy in sure], sure) if sure else None
    chosen = pick.chosen if pick else tuple(sure)
    text = sentence(
        "advice.outage", down=down, command=command, names=names_of(down), sure=sure, chosen=chosen, pick=pick,
        refused=sum(case.refused for case in down),
    )  # fmt: skip
    return Answer(OUTAGE, chosen, text)


def _changes(evidence: Evidence, many: Cases, chosen: Collection[str]) -> list[str]:
    """Situations in which another strategy than `chosen` would do, as far as the cases `many` show them."""
    flowing = [case for case in many if case.scenario == "flowing"] or list(many)
    main = Counter(case.workers for case in flowing).most_common(1)[0][0] if flowing else 0
    timed = ranked([case for case in flowing if case.workers == main])
    others = [case for case in timed if case.strategy not in chosen and case.strategy in without_misses(many)]
    steady = {case.strategy: case for case in evidence.cases if case.scenario == "steady" and CPU in case.metrics}
    hanging = [case for case in evidence.usual() if case.strategy == "disconnect" and case.workers == main]
    memory = names_of(case for case in many if case.missed and case.store == "memory")
    found = []
    timer = next((case for case in others if case.delivery == "timer"), None)
    if timer and (ends := interval_of(timer, key="p95")):
        found.append(sentence("advice.timer", case=timer, ends=ends, instant_ms=INSTANT_MS, steady=steady))
    if poll := next((case for case in others if case.delivery == "poll"), None):
        worst = slowest(many, [poll.strategy])[poll.strategy]
        found.append(sentence("advice.poll", case=poll, worst=worst, steady=steady))
    if left := slowest(hanging, ["disconnect"]):
        found.append(sentence("advice.disconnect", case=left["disconnect"]))
    if memory:
        found.append(sentence("advice.sticky", cases=many, names=memory))
    return found


def _footing(summary: Summary, manifest: Manifest) -> list[str]:
    """The evidence: floor, calibration, number of blocks, machine."""
    blocks = min((case.blocks for case in summary.cases if case.blocks), default=manifest.blocks or 1)
    cpus = manifest.host.cpus if manifest.host else None
    floor = summary.floor if summary.floor and summary.floor.p50 is not None else None
    stops = [case.metrics[STOP] for case in summary.cases if STOP in case.metrics]
    units = {unit for stop in stops if stop.ci95.p50 and (unit := stop.ci95_of)}
    return [
        *([sentence("advice.quick")] if manifest.is_quick else []),
        *([sentence("advice.floor", floor=floor)] if floor else []),
        *([sentence("advice.intervals", units=units)] if units else []),
        *([sentence("advice.calibration", found=summary.calibration)] if summary.calibration else []),
        *([sentence("advice.few_blocks", blocks=blocks, needed=MIN_BLOCKS, ratio=UNREPLICATED_RATIO)]
          if blocks < MIN_BLOCKS else []),
        *([sentence("advice.machine", cpus=cpus)] if cpus else []),
    ]  # fmt: skip


def _ratio(missed: int, aborts: int) -> float:
    return missed / max(1, aborts)
