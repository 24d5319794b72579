"""The text under each chart: selects cases and figures; the sentences are in templates/text/captions.j2."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.analysis.waterfall import WORDS, Parts
from bench.record.schema import ChatRow
from bench.record.summary import SummaryCase
from bench.report.cases import CPU, median, overlap, ranked, value_of
from bench.report.pages import sentence
from bench.stats.percentiles import interval95
from bench.stats.proportions import proportion_interval
from bench.stats.spread import BlockValues, Mean, against

PRICE_USD_PER_M_TOKENS = 10.0
"""Assumed: OpenAI's list price of gpt-4o, $10.00 per million output tokens (its pricing page, 2025 and 2026)."""
LEAST_IN_QUARTER = 5
Cases = Sequence[SummaryCase]
Counts = Mapping[str, Mapping[int, tuple[int, int]]]
"""Strategy -> number of workers -> (missed, aborts)."""


class Pressed(NamedTuple):
    """An abort around an outage, in seconds after the kill: first sent, accepted or not, stopped (None: never)."""

    sent_s: float
    accepted: bool
    stopped_s: float | None


def stop_reading(cases: Cases) -> str:
    """The quickest and the slowest median of one scenario, and whose curve stays below 100 %."""
    timed = ranked(cases)
    level = [case.strategy for case in timed[1:] if overlap(timed[0], case)]
    missed = [
        (case, [100 * end for end in proportion_interval(case.missed, case.aborts)]) for case in cases if case.missed
    ]
    return sentence("captions.stop", scenario=cases[0].scenario, timed=timed, level=level, missed=missed)


def scenario_reading(cases: Cases) -> str:
    """The scenario with the largest ratio between the slowest and the quickest median."""
    return sentence("captions.scenarios", ends=_furthest(cases, "p50"))


def tail_reading(cases: Cases) -> str:
    """The 99th (else the 95th) percentile of the quickest and the slowest, in the scenario where they differ most."""
    key = "p99" if _furthest(cases, "p99") else "p95"
    return sentence("captions.tail", ends=_furthest(cases, key), key=key)


def _furthest(cases: Cases, key: str) -> tuple[float, SummaryCase, SummaryCase] | None:
    """`(ratio, quickest, slowest)` of the scenario in which this percentile of the stop differs most."""
    found = []
    for scenario in dict.fromkeys(case.scenario for case in cases):
        timed = list(ranked((case for case in cases if case.scenario == scenario), key))
        if len(timed) > 1 and (least := value_of(timed[0], key=key)):
            found.append(((value_of(timed[-1], key=key) or 0.0) / least, timed[0], timed[-1]))
    return max(found, key=lambda each: each[0], default=None)


def where_reading(scenario: str, parts: Mapping[str, Parts]) -> str:
    """The largest part of the quickest and of the slowest stop, and when the client sees the end after it."""
    by_stop = _ends(sorted(parts, key=lambda name: parts[name].whole.mean))
    largest = {name: max(zip(parts[name].each, WORDS.values(), strict=True), key=lambda part: part[0].mean)
               for name in by_stop}  # fmt: skip
    clients = {name: own.client for name, own in parts.items() if own.client}
    late = _ends(sorted(clients, key=lambda name: clients[name], reverse=True))
    return sentence("captions.where", scenario=scenario, parts=parts, largest=largest, clients=clients, late=late)


def lanes_reading(rows: Mapping[str, ChatRow]) -> str:
    """The quickest and the slowest of these chats, and the tokens that they wasted."""
    stops = {}
    for strategy, row in rows.items():
        if row.witness and row.abort and row.abort.sent_ns and (lost_ns := row.witness.lost_ns):
            sent_ns = row.abort.sent_ns
            stops[strategy] = (lost_ns - sent_ns) / 1e6, sum(token > sent_ns for token in row.witness.token_ns)
    return sentence("captions.lanes", stops={name: stops[name] for name in _ends(sorted(stops, key=stops.__getitem__))})


def gap_reading(pairs: Mapping[str, Sequence[tuple[float, ...]]], itl_ms: float) -> str:
    """For which strategy the median stop depends most, and least, on when in the gap the abort is sent."""
    ratios, quarters = {}, {}
    for strategy, each in pairs.items():
        early = [stop for since, stop in each if since < itl_ms / 4]
        late = [stop for since, stop in each if since >= 3 * itl_ms / 4]
        if min(len(early), len(late)) >= LEAST_IN_QUARTER:
            quarters[strategy] = [(statistics.median(part), interval95(part, 0.5)) for part in (early, late)]
            ratios[strategy] = statistics.median(early) / max(statistics.median(late), 1e-9)
    names = [max(ratios, key=ratios.__getitem__), min(ratios, key=lambda name: abs(ratios[name] - 1))] if ratios else []
    return sentence("captions.gap", quarters={name: quarters[name] for name in names})


def pace_reading(points: Mapping[str, Sequence[tuple[float, ...]]]) -> str:
    """Whose median grows most and whose least from the fastest to the slowest tokens; points are (itl, p50, ci)."""
    known = {name: (each[0], each[-1]) for name, each in points.items() if len(each) > 1 and each[0][1] > 0}
    names = _ends(sorted(known, key=lambda name: known[name][1][1] / known[name][0][1], reverse=True))
    return sentence("captions.pace", ends={name: known[name] for name in names})


def waste_reading(scenario: str, means: Mapping[str, Mean]) -> str:
    """The least, the most and the control, by mean tokens per abort in one scenario."""
    names = _ends(sorted((name for name in means if name != "none"), key=lambda name: means[name].mean))
    return sentence("captions.waste", scenario=scenario, means=means, names=names)


def money_reading(usd: Mapping[str, Mean], scenario: str) -> str:
    """The cheapest, the most expensive and the control, in dollars per million aborted chats."""
    names = _ends(sorted((name for name in usd if name != "none"), key=lambda name: usd[name].mean))
    return sentence("captions.money", scenario=scenario, usd=usd, names=names, price=PRICE_USD_PER_M_TOKENS)


def cost_reading(values: BlockValues) -> str:
    """CPU per token of the most and least expensive strategy against `none`, store operations, and throughput."""
    base, others = values.get("none", {}), {name: each for name, each in values.items() if name != "none"}
    pace = _over_blocks(others, base, "tokens_per_s") if base.get("tokens_per_s") else {}
    stores = _over_blocks(others, {}, "store_ops_per_token")
    return sentence(
        "captions.cost", others=others, ratio=bool(base.get(CPU)), cpu=_over_blocks(others, base, CPU),
        stores=dict(list(stores.items())[-1:]), pace=dict(list(pace.items())[:1]),
    )  # fmt: skip


def _over_blocks(values: BlockValues, base: Mapping[str, Mapping[int, float]], metric: str) -> dict[str, list[float]]:
    """Strategy -> its value in each block, over the base's where there is one; ordered by the mean."""
    found = {name: against(each.get(metric, {}), base.get(metric, {})) for name, each in values.items()}
    return dict(sorted(((n, each) for n, each in found.items() if each), key=lambda pair: statistics.fmean(pair[1])))


def trade_reading(cases: Cases, costs: BlockValues) -> str:
    """The quickest strategy with a store that misses nothing, and the one with the least CPU."""
    usable = [case for case in cases if case.delivery and not case.missed and costs.get(case.strategy, {}).get(CPU)]
    cpu = {case.strategy: list(costs[case.strategy][CPU].values()) for case in usable}
    quick = min(usable, key=median, default=None)
    cheap = min(usable, key=lambda case: statistics.fmean(cpu[case.strategy]), default=None)
    return sentence("captions.trade", quick=quick, cheap=cheap, cpu=cpu)


def workers_reading(counts: Counts) -> str:
    """The share of aborts missed at the largest number of workers, and which strategies missed none at any."""
    missing = {name: max(each) for name, each in counts.items() if any(missed for missed, _aborts in each.values())}
    return sentence("captions.workers", counts=counts, missing=missing, whole=[n for n in counts if n not in missing])


def outage_reading(lanes: Mapping[str, Sequence[Pressed]], away_s: Sequence[float]) -> str:
    """How many aborts were never accepted, and how many of the accepted ones never stopped their chat."""
    every = [each for aborts in lanes.values() for each in aborts]
    taken = {name: sum(each.accepted for each in aborts) for name, aborts in lanes.items()}
    lost = {name: sum(each.accepted and each.stopped_s is None for each in own) for name, own in lanes.items()}
    whole = [name for name, count in lost.items() if not count and taken[name]]
    kept = sum(taken[name] for name in whole)
    return sentence(
        "captions.outage", aborts=len(every), refused=sum(not each.accepted for each in every), taken=taken,
        lost={name: count for name, count in lost.items() if count}, whole=whole, kept=kept,
        most=100 * proportion_interval(0, kept)[1], away_s=statistics.median(away_s) if away_s else None,
    )  # fmt: skip


def knee_reading(points: Sequence[Mapping[str, Any]]) -> str:
    """The highest and the lowest rate that a strategy sustained; where the search gave up it is a lower bound."""
    tried = sorted((point for point in points if point["aborts_per_s"] > 0), key=lambda point: -point["aborts_per_s"])
    untried = [point for point in points if point not in tried]
    bounds = [str(point["strategy"]) for point in tried if point.get("at_least")]
    return sentence("captions.knee", ends=tried[:1] + tried[1:][-1:], bounds=bounds, untried=untried)


def _ends(ordered: Sequence[str]) -> list[str]:
    """The first and the last, or the only one."""
    return list(dict.fromkeys([*ordered[:1], *ordered[-1:]]))
