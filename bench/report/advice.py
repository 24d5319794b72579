"""The answer in plain words: which strategy for which situation, on what evidence, and what would change it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.report.advice_limits import changes_of, footing_of
from bench.report.evidence import METRIC, Evidence, gather, level_with, missed_share, missed_words, whole, worst
from bench.report.formatting import Case, join, measured, more_scenarios
from bench.workload.strategies import strategy_rank

ONE, MANY, BARE, OUTAGE = "One worker", "Several workers", "No Redis", "Must survive a restart of the store"
NO_ONE = "no strategy was measured with one worker (make bench WORKERS=1)"
NO_MANY = "no strategy was measured with several workers (make bench WORKERS=2)"
NO_BARE = "no strategy without Redis was measured with several workers (make bench BACKEND=postgres)"
QUICK = "A QUICK run gives no choice, only a first look at the charts: run make bench without QUICK=1."


@dataclass(frozen=True)
class Answer:
    """One situation; `choice` is empty when the data cannot tell, and then `says` names what is lacking."""

    question: str
    choice: tuple[str, ...]
    says: str


@dataclass(frozen=True)
class Advice:
    """Answers, what would change them, and what they stand on: sentences with figures from the run and no others."""

    answers: list[Answer]
    changes: list[str] = field(default_factory=list)
    footing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Pick:
    """The quickest of the strategies that missed nothing, those level with it, and each one's slowest case."""

    leader: str
    level: list[str]
    slowest: dict[str, Case]

    @property
    def chosen(self) -> tuple[str, ...]:
        return (self.leader, *self.level)


def advise(
    summary: Mapping[str, Any], manifest: Mapping[str, Any], faulted: Collection[tuple[str, str]] = ()
) -> Advice:
    """Answer from the summary (DESIGN section 7) alone; `faulted` are the (strategy, scenario) whose store was killed.

    The rule: of the strategies that missed no abort, the one whose longest median stop over all scenarios is the
    shortest, together with those that it is nowhere told to be quicker than. An invalid run answers nothing, and a
    QUICK one neither: it is too short for a claim.
    """
    quick = bool(manifest.get("quick"))
    if quick or not summary["valid"]:
        says = "This run is not valid, so it answers nothing." if not summary["valid"] else QUICK
        footing = footing_of(summary, manifest) if summary["valid"] else []
        return Advice([Answer(question, (), says) for question in (ONE, MANY, BARE, OUTAGE)], footing=footing)
    evidence = gather(summary, manifest, faulted)
    usual = [case for case in evidence.usual() if case["delivery"]]
    many = [case for case in usual if case["workers"] > 1]
    several = _choose(MANY, evidence, many, NO_MANY)
    answers = [
        _for_one(evidence, usual),
        several,
        _choose(BARE, evidence, [case for case in many if case["store"] != "redis"], NO_BARE),
        _after_outage(evidence, many or usual, more_scenarios(manifest, "outage")),
    ]
    return Advice(answers, changes_of(evidence, many, several.choice), footing_of(summary, manifest))


def _for_one(evidence: Evidence, usual: Sequence[Case]) -> Answer:
    """One worker; a strategy that was not measured on one is taken as it was with the fewest, and that is said.

    Memory is not: with several workers it misses what lands on another one, which one worker cannot. Only scenarios
    count in which something was measured on one worker, so that all are ranked by the same ones.
    """
    alone = [case for case in usual if case["workers"] == 1]
    places = {case["scenario"]: case for case in alone}
    others = [
        case
        for case in usual
        if case["workers"] > 1 and case["store"] != "memory" and case["scenario"] in places
        and case["strategy"] not in {each["strategy"] for each in alone}
    ]  # fmt: skip
    fewest = {name: min(each["workers"] for each in others if each["strategy"] == name) for name in _names(others)}
    taken = [
        case | {"workers": 1, "streams": places[case["scenario"]]["streams"]}
        for case in others
        if case["workers"] == fewest[case["strategy"]]
    ]
    answer = _choose(ONE, evidence, [*alone, *taken], NO_ONE)
    if not taken:
        return answer
    with_ = join([str(number) for number in sorted(set(fewest.values()))])
    return replace(
        answer,
        says=f"{answer.says} For want of a measurement with one worker, taken from {with_} workers:"
        f" {join(list(fewest))} (make bench WORKERS=1 measures them).",
    )


def _names(cases: Sequence[Case]) -> list[str]:
    return sorted({case["strategy"] for case in cases}, key=strategy_rank)


def _choose(question: str, evidence: Evidence, cases: Sequence[Case], lacking: str) -> Answer:
    if not cases:
        return Answer(question, (), f"Not measured: {lacking}.")
    names, sure = {case["strategy"] for case in cases}, whole(cases)
    if not sure:
        least = min(sorted(names), key=lambda name: missed_share(cases, name))
        return Answer(question, (), f"None delivered every abort; {least} came nearest: {missed_words(cases, least)}.")
    pick = _pick(evidence, cases, sure)
    if pick is None:
        return Answer(question, (), "Too few stops for a median (6 are needed), so the data cannot tell.")
    slow = pick.slowest[pick.leader]
    says = f"At the median it stops within {measured(slow)}, in the worst case ({slow['scenario']}, {pick.leader});"
    says += f" {missed_words(cases, pick.leader)}."
    rest = [name for name in pick.slowest if name not in pick.chosen]
    if pick.level:
        others = [f"{name} {_slowest(pick, name)}" for name in pick.level]
        says += f" The data does not tell {join(pick.chosen)} apart ({join(others)}): take the store you run already."
    if rest:
        says += f" Next is {(second := min(rest, key=lambda name: _p50(pick.slowest[name])))} {_slowest(pick, second)}."
    elif not pick.level:
        says += " Nothing else that missed no abort was measured here."
    if out := sorted(names - set(sure)):
        says += f" Left out for missed aborts: {join(out)}."
    return Answer(question, pick.chosen, says)


def _pick(evidence: Evidence, cases: Sequence[Case], sure: Sequence[str]) -> _Pick | None:
    """The rule of `advise`; where the strategies share no place with a median, each one's own slowest case counts."""
    slowest = worst(cases, sure) or {name: case for each in sure for name, case in worst(cases, [each]).items()}
    if not slowest:
        return None
    leader = min(slowest, key=lambda name: _p50(slowest[name]))
    return _Pick(leader, level_with(evidence, cases, leader, slowest), slowest)


def _after_outage(evidence: Evidence, usual: Sequence[Case], command: str) -> Answer:
    down = [case for case in evidence.cases if case["aborts"] and evidence.in_outage(case) and case["delivery"]]
    if not down:
        return Answer(OUTAGE, (), f"Not measured: no store was killed in this run. {command} measures it.")
    sure, names = whole(down), sorted({case["strategy"] for case in down})
    if not sure:
        lost = [f"{name}: {missed_words(down, name)}" for name in names]
        return Answer(OUTAGE, (), f"Each lost aborts it had accepted while its store was killed: {join(lost)}.")
    pick = _pick(evidence, [case for case in usual if case["strategy"] in sure], sure)
    chosen = pick.chosen if pick else tuple(sure)
    kept = [f"{name} {missed_words(down, name)}" for name in chosen]
    says = f"While the store was killed and came back, of the aborts it had accepted: {join(kept)}."
    if refused := sum(case.get("refused") or 0 for case in down):
        says += f" {refused:,} aborts were refused to the end, and their senders told so."
    if out := [name for name in names if name not in sure]:
        says += f" Lost some: {join([f'{name} ({missed_words(down, name)})' for name in out])}."
    if pick:
        slow = pick.slowest[pick.leader]
        says += f" Ranked by their stops while the store was there: {pick.leader} within {measured(slow)} at the median"
        says += f" in the worst case ({slow['scenario']})."
    else:
        says += " Not ranked: no stop was measured while the store was there."
    return Answer(OUTAGE, chosen, says)


def _slowest(pick: _Pick, name: str) -> str:
    return f"{measured(pick.slowest[name])} ({pick.slowest[name]['scenario']})"


def _p50(case: Case) -> float:
    return float(case["metrics"][METRIC]["p50"])
