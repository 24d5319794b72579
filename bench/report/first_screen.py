"""The first screen of a report: one sentence with money in it, and one small table."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from bench.analysis.ranking import names_of, place_of, ranked, value_of
from bench.record.manifest import Manifest, ScenarioSettings
from bench.record.summary import Summary, SummaryCase
from bench.report.advice import MANY, ONE, Advice
from bench.report.cases import PRICE_USD_PER_M_TOKENS, WASTE
from bench.report.formatting import number
from bench.report.pages import Table, sentence, table
from bench.workload.strategies import NONE, is_contender, is_special, scenario_rank, strategy_rank

MOST_ROWS = 6


class FirstScreen(NamedTuple):
    """`title`: of the page, begins with the answer; `basis`: what the sentence was measured with."""

    title: str
    sentence: str
    basis: str
    table: Table | None


def first_screen(
    summary: Summary, manifest: Manifest, advice: Advice, faulted: Collection[tuple[str, str]] = ()
) -> FirstScreen:
    """From the first scenario with aborts, at its most measured load; `faulted`: see `advise`.

    The answer is that of `advice` for this number of workers, else the quickest strategy that missed no abort here.
    An invalid run gives no figure in the sentence.
    """
    cases = _cases_of(summary, manifest, faulted)
    place = place_of(cases[0]) if cases else None
    recommended = _recommended(cases, advice)
    chosen = recommended or [case.strategy for case in _able(cases) if not case.missed][:1]
    leader = next((case for case in cases if case.strategy == chosen[0]), None) if chosen else None
    facts = {
        "place": place,
        "leader": leader,
        "level": [case for case in cases if case.strategy in chosen[1:]],
        "control": next((case for case in cases if case.strategy == NONE and value_of(case, WASTE, "mean")), None),
        "contenders": [case for case in cases if is_contender(case.strategy)],
        "scenario": manifest.scenarios.get(place.scenario if place else "", ScenarioSettings()),
        "price": PRICE_USD_PER_M_TOKENS,
        "quick": manifest.is_quick,
        "valid": summary.valid,
    }
    shown = _shown(cases, chosen)
    found = _table(shown, recommended) if shown else None
    label = manifest.label or "a run"
    answer = f"{leader.strategy} {number(value_of(leader))} ms" if leader and recommended else "Stopping a stream"
    return FirstScreen(
        f"{answer}: {label}", sentence("first.headline", **facts), sentence("first.basis", **facts), found
    )


def _table(cases: Sequence[SummaryCase], best: Sequence[str]) -> Table:
    made = table("first", cases=cases, best=best, price=PRICE_USD_PER_M_TOKENS)
    bold = {
        (row, column) for row, case in enumerate(cases) if case.strategy in best for column in range(len(made.heads))
    }
    return replace(made, best=frozenset(bold))


def _cases_of(summary: Summary, manifest: Manifest, faulted: Collection[tuple[str, str]]) -> list[SummaryCase]:
    """The cases of the first scenario in which aborts were sent as requests and no store was killed."""
    usable = [
        case
        for case in summary.cases
        if case.aborts and not is_special(case.scenario)
        and manifest.scenarios.get(case.scenario, ScenarioSettings()).abort_by != "hangup"
        and case.scenario not in {scenario for _strategy, scenario in faulted}
    ]  # fmt: skip
    if not usable:
        return []
    scenario = min((case.scenario for case in usable), key=scenario_rank)
    own = [case for case in usable if case.scenario == scenario]
    load = Counter(map(place_of, own)).most_common(1)[0][0]
    return sorted((case for case in own if place_of(case) == load), key=lambda case: strategy_rank(case.strategy))


def _able(cases: Sequence[SummaryCase]) -> list[SummaryCase]:
    """The strategies that deliver aborts and have a median, quickest first."""
    return [case for case in ranked(cases) if is_contender(case.strategy)]


def _recommended(cases: Sequence[SummaryCase], advice: Advice) -> list[str]:
    """The answer for this number of workers, quickest first; none for an invalid or a QUICK run."""
    question = ONE if cases and cases[0].workers == 1 else MANY
    choice = next((answer.choice for answer in advice.answers if answer.question == question), ())
    return [case.strategy for case in _able(cases) if case.strategy in choice]


def _shown(cases: Sequence[SummaryCase], chosen: Sequence[str]) -> list[SummaryCase]:
    """At most MOST_ROWS cases: the chosen, the control, then the quickest of each way to deliver an abort."""
    if len(cases) <= MOST_ROWS:
        return list(cases)
    ways: dict[str, str] = {}
    for case in [*ranked(cases), *cases]:
        if is_contender(case.strategy):
            way = "memory" if case.store == "memory" else case.delivery or case.strategy
            ways.setdefault(way, case.strategy)
    order = [*chosen, *(name for name in names_of(cases) if name == NONE), *ways.values(), *names_of(cases)]
    kept = list(dict.fromkeys(order))[:MOST_ROWS]
    return [case for case in cases if case.strategy in kept]
