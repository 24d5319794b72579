"""What the rounds of `stop-path` say: how many times a hang-up each push takes, and whether aims were kept. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.analysis.checks import MAX_ERROR_SHARE
from bench.experiments.goals import judge, of_percentiles, of_rounds
from bench.stats.percentiles import describe
from bench.workload.strategies import DISCONNECT

AIMS: dict[str, dict[str, float]] = {
    "memory-push": {"p50": 1.5},
    "redis-push": {"p50": 1.9, "p99": 3.0},
    "postgres-push": {"p50": 1.9, "p99": 3.0},
}
"""At most so many times a client that hangs up."""
NOT_JUDGED = "not judged"
"""The verdict where there are too few rounds or Stops for an interval."""
Row = dict[str, Any]


def aims_of(record: Row) -> list[Row]:
    """A row for each scenario, strategy and percentile, with `n` counted Stops beside `base_n` hang-ups.

    p50: `ratio` is the median of the rounds' own ratios, `min` and `max` theirs. p99: the ratio of the p99 of all
    rounds together, since a round has too few Stops for one. `ci95` is of either; see bench.experiments.goals.
    """
    found = []
    for scenario in record["scenarios"]:
        rounds = [each["stops_ms"] for each in record["rounds"] if each["scenario"] == scenario]
        base = _pooled(rounds, DISCONNECT)
        for strategy, aims in AIMS.items():
            ours = _pooled(rounds, strategy)
            for name, at_most in aims.items():
                row = {"scenario": scenario, "strategy": strategy, "percentile": name, "at_most": at_most}
                row |= {"n": len(ours), "base_n": len(base), "rounds": len(rounds)}
                row |= {"ours_ms": describe(ours)[name], "disconnect_ms": describe(base)[name]}
                found.append(row | (_p50(rounds, strategy, at_most) if name == "p50" else _p99(ours, base, at_most)))
    return found


def counts_of(rounds: Sequence[Row]) -> dict[str, Counter[str]]:
    """How many chats of each kind a strategy had in these rounds."""
    counts: dict[str, Counter[str]] = {}
    for each in rounds:
        for strategy, kinds in each["counts"].items():
            counts[strategy] = counts.get(strategy, Counter()) + Counter(kinds)
    return counts


def broken(record: Row) -> list[str]:
    """Promises that do not depend on the machine and were not kept, a line each.

    An abort is lost when its chat ended by itself, which on a machine that stands still it may: no round that was set
    aside tells.
    """
    lost = counts_of(record["rounds"])
    others = counts_of([*record["rounds"], *record["set_aside"]])
    found = [
        f"{strategy}: {counts['missed']} aborts were lost" for strategy, counts in lost.items() if counts["missed"]
    ]
    for kind, what in (("wrong_stop", "chats were stopped that nobody had aborted"), ("leaked", "upstreams left open")):
        found += [f"{strategy}: {counts[kind]} {what}" for strategy, counts in others.items() if counts[kind]]
    return found


def problems_of(record: Row) -> list[str]:
    """Why the measurement cannot be believed, a line each: too few rounds of a sound instrument, chats that failed."""
    found = []
    for scenario in record["scenarios"]:
        well = sum(each["scenario"] == scenario for each in record["rounds"])
        ill = [each["ill"][0] for each in record["set_aside"] if each["scenario"] == scenario]
        if well < record["pairs"]:
            found.append(f"{scenario}: only {well} of {well + len(ill)} rounds had a sound instrument: {ill[0]}")
    chats, failed = Counter[str](), dict[str, list[str]]()
    for each in record["rounds"]:
        for strategy, words in each["failed"].items():
            chats[strategy] += sum(each["counts"][strategy].values())
            failed.setdefault(strategy, []).extend(words)
    for strategy, words in failed.items():
        if len(words) > MAX_ERROR_SHARE * chats[strategy]:
            found.append(f"{strategy}: {len(words)} of {chats[strategy]} chats failed, for example: {words[0]}")
    return found


def _p50(rounds: Sequence[Row], strategy: str, at_most: float) -> Row:
    both = [(each[strategy], each[DISCONNECT]) for each in rounds if each[strategy] and each[DISCONNECT]]
    if len(both) < 2:
        return {"ratio": None, "min": None, "max": None, "ci95": None, "verdict": NOT_JUDGED}
    spread = of_rounds([statistics.median(ours) / statistics.median(base) for ours, base in both])
    spread["ratio"] = spread.pop("median")
    return spread | {"verdict": judge(spread["ci95"], at_most)}


def _p99(ours: Sequence[float], base: Sequence[float], at_most: float) -> Row:
    found = of_percentiles(ours, base, 0.99)
    if found is None:
        return {"ratio": None, "min": None, "max": None, "ci95": None, "verdict": NOT_JUDGED}
    ratio, ends = found
    return {"ratio": ratio, "min": None, "max": None, "ci95": list(ends), "verdict": judge(ends, at_most)}


def _pooled(rounds: Sequence[Row], strategy: str) -> list[float]:
    return [stop_ms for each in rounds for stop_ms in each[strategy]]
