"""The sentences under the charts of cost and failure: money, trade-off, workers, outage, knee."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.report.formatting import Case, block_words, interval, join, measured, number, share
from bench.stats.proportions import proportion_interval

PRICE_USD_PER_M_TOKENS = 10.0
"""Assumed: OpenAI's list price of gpt-4o, $10.00 per million output tokens (its pricing page, 2025 and 2026)."""
PRICE_NOTE = (
    f"assumed: ${PRICE_USD_PER_M_TOKENS:g} per million output tokens, OpenAI's list price of gpt-4o in 2025 and 2026;"
    " half the price, half the sum"
)


def money_reading(usd: Mapping[str, tuple[float, ...]], scenario: str) -> str:
    """The cheapest and the dearest strategy in dollars per million stopped chats, against none."""
    ranked = sorted((name for name in usd if name != "none"), key=lambda name: usd[name][0])
    words = [f"${_sum(usd[name])} with {name}" for name in dict.fromkeys([*ranked[:1], *ranked[-1:]])]
    if "none" in usd:
        words.append(f"${_sum(usd['none'])} when nothing is stopped (none)")
    return f"In {scenario}, the tokens written after a million Stops cost {join(words)} ({PRICE_NOTE})."


def _sum(each: tuple[float, ...]) -> str:
    return f"{number(each[0])} [{number(each[1])} to {number(each[2])}]"


def trade_reading(cases: Sequence[Case], costs: Mapping[str, Mapping[str, Mapping[int, float]]]) -> str:
    """The quickest strategy that misses nothing, what it costs, and the cheapest one that misses nothing."""
    metric = "server_cpu_us_per_token"
    whole = [
        case
        for case in cases
        if case["delivery"] and not case["missed"] and costs.get(case["strategy"], {}).get(metric)
    ]
    if not whole:
        return "Of no strategy with a store that missed no abort the CPU was measured, so there is nothing to weigh."
    every = {case["strategy"]: list(costs[case["strategy"]][metric].values()) for case in whole}
    cpu = {name: statistics.fmean(values) for name, values in every.items()}
    quick = min(whole, key=lambda case: case["metrics"]["upstream_stop_ms"]["p50"])
    cheap = min(whole, key=lambda case: cpu[case["strategy"]])
    text = (
        f"Of the strategies with a store that missed no abort, {quick['strategy']} stops first"
        f" ({measured(quick)}) at {block_words(every[quick['strategy']])} µs of service CPU per token"
    )
    if cheap is quick:
        return text + ", and none of them is cheaper."
    return (
        text + f"; {cheap['strategy']} needs the least on average ({block_words(every[cheap['strategy']])} µs,"
        f" {measured(cheap)})."
    )


Counts = Mapping[str, Mapping[int, tuple[int, int]]]
"""Strategy -> number of workers -> (missed, aborts)."""


def workers_reading(counts: Counts) -> str:
    """Who misses aborts, how many at the largest number of workers it was run with, and who misses none at any."""
    words = []
    for name, each in counts.items():
        if any(missed for missed, _aborts in each.values()):
            most = max(each)
            missed, aborts = each[most]
            low, high = (100 * end for end in proportion_interval(missed, aborts))
            words.append(
                f"{name} misses {share(missed, aborts)} [{low:.0f} to {high:.0f} %] of {aborts:,} with {most} workers"
            )
    whole = [name for name, each in counts.items() if not any(missed for missed, _aborts in each.values())]
    if not words:
        return f"No abort was missed by any of the {len(whole)} strategies, with any number of workers."
    rest = f"; {join(whole)} missed none with any number of workers measured" if whole else ""
    sentence = f"{join(words)}{rest}."
    return sentence[0].upper() + sentence[1:]


class Pressed(NamedTuple):
    """An abort around an outage, in seconds after the kill: first pressed, accepted or not, stopped when (or never)."""

    sent_s: float
    accepted: bool
    stopped_s: float | None


def outage_reading(lanes: Mapping[str, Sequence[Pressed]], away_s: Sequence[float]) -> str:
    """How many aborts were refused to the end, and how many of the accepted ones never stopped their chat."""
    every = [each for aborts in lanes.values() for each in aborts]
    taken = {name: [each for each in aborts if each.accepted] for name, aborts in lanes.items()}
    lost = {name: sum(each.stopped_s is None for each in each_taken) for name, each_taken in taken.items()}
    whole = [name for name, count in lost.items() if not count and taken[name]]
    words = [f"{name} lost {count} of {len(taken[name])} it had accepted" for name, count in lost.items() if count]
    if whole:
        n = sum(len(taken[name]) for name in whole)
        top = f"{100 * proportion_interval(0, n)[1]:.2g} %"
        words.append(f"{join(whole)} lost none of the {n:,} they had accepted (at most {top})")
    refused = sum(not each.accepted for each in every)
    away = f", the store being away for {number(statistics.median(away_s))} s," if away_s else ""
    kept = join(words) or "none was accepted, so none could be lost"
    return f"Of {len(every):,} aborts{away} {refused:,} were refused to the end; {kept}."


KNEE_ENDS = {
    "slow": "p99 too slow",
    "missed": "aborts missed",
    "failed": "chats failed",
    "load": "load gave up",
    "time": "time was over",
}
"""What ended the search for a knee (bench.experiments.knee), in few words."""


def knee_reading(points: Sequence[Mapping[str, Any]]) -> str:
    """Who bears most and who least, in aborts per second; a rate at which the search gave up is only a lower bound."""
    ranked = sorted((point for point in points if point["aborts_per_s"] > 0), key=lambda point: -point["aborts_per_s"])
    words = [
        f"{'at least ' if point.get('at_least') else ''}{number(point['aborts_per_s'])}{interval(point.get('ci95'))}"
        f" with {point['strategy']} ({_why(point)})"
        for point in ranked[:1] + ranked[1:][-1:]
    ]
    text = f"The highest rate that was borne is, in aborts per second, {join(words)}."
    if open_ := [str(point["strategy"]) for point in ranked if point.get("at_least")]:
        text += f" Marked ≥ ({join(open_)}): the service held every rate that could be tried, so its knee lies beyond."
    if unknown := [f"{point['strategy']} ({_why(point)})" for point in points if point not in ranked]:
        text += f" Not even the lowest rate could be tried with {join(unknown)}."
    return text


def _why(point: Mapping[str, Any]) -> str:
    """What happened at the next higher rate."""
    if point.get("ended_by") in (None, "slow"):
        return f"then the stop's p99 passes {point['limit_ms']:.3g} ms"
    return f"then: {KNEE_ENDS.get(point['ended_by'], point['ended_by'])}"
