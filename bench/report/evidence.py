"""What a summary can tell for advice: who delivered every abort, who is quicker than whom, and how sure that is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.report.formatting import Case, number
from bench.stats.proportions import proportion_interval
from bench.workload.strategies import is_special, strategy_rank

UNREPLICATED_RATIO = 1.25
"""Without enough blocks two medians differ only beyond this ratio: one run is off by some 5 % from the next, and an
interval within a run does not know that."""
METRIC = "upstream_stop_ms"
Place = tuple[str, int, int]  # scenario, workers, streams


@dataclass(frozen=True)
class Evidence:
    """The cases of strategies, and what is known of pairs of them. `faulted`: (strategy, scenario) with an outage."""

    cases: list[Case]
    faulted: Collection[tuple[str, str]]
    floor_ms: float | None
    comparisons: Mapping[tuple[Place, str, str], str] = field(default_factory=dict)
    hangups: Collection[str] = ()  # scenarios in which people close the page: no strategy takes part in that

    def usual(self) -> list[Case]:
        """Cases in which presses of Stop counted while the store was there."""
        pressed = [case for case in self.cases if case["scenario"] not in self.hangups]
        return [case for case in pressed if case["aborts"] and not self.in_outage(case)]

    def in_outage(self, case: Case) -> bool:
        """Whether the store was killed in this case."""
        return (case["strategy"], case["scenario"]) in self.faulted

    def quicker(self, a: Case, b: Case) -> bool:
        """True when a's median stop is told apart from b's as the shorter one; both in the same place.

        By the run's own comparison over blocks where there is one, else by intervals that do not touch and a ratio
        beyond UNREPLICATED_RATIO. A difference below the floor (the instrument's own stop) is never claimed.
        """
        stop, slower = a["metrics"][METRIC], b["metrics"][METRIC]
        if slower["p50"] - stop["p50"] <= (self.floor_ms or 0.0):
            return False
        for one, other, word in ((a, b, "faster"), (b, a, "slower")):
            verdict = self.comparisons.get((place_of(a), one["strategy"], other["strategy"]))
            if verdict is not None and not verdict.startswith("needs"):
                return verdict == word
        apart = stop["ci95"]["p50"][1] < slower["ci95"]["p50"][0]
        return bool(apart and slower["p50"] > UNREPLICATED_RATIO * stop["p50"])


def gather(
    summary: Mapping[str, Any], manifest: Mapping[str, Any], faulted: Collection[tuple[str, str]] = ()
) -> Evidence:
    """Take from the summary what advice may rest on; the floor and the calibration are no strategies."""
    floor, scenarios = summary.get("floor") or {}, manifest.get("scenarios") or {}
    known = {
        (place_of(each), each["a"], each["b"]): str(each["verdict"])
        for each in summary.get("comparisons") or ()
        if each["metric"] == METRIC and each["verdict"]
    }
    cases = [case for case in summary["cases"] if not is_special(case["scenario"])]
    hangups = [name for name, settings in scenarios.items() if (settings or {}).get("abort_by") == "hangup"]
    return Evidence(cases, faulted, floor.get("p50"), known, hangups)


def place_of(case: Mapping[str, Any]) -> Place:
    """Where cases can be compared: same scenario, workers and streams."""
    return case["scenario"], case["workers"], case["streams"]


def whole(cases: Sequence[Case]) -> list[str]:
    """The strategies that missed no abort in any of these cases, in the usual order."""
    names = {case["strategy"] for case in cases}
    return sorted(names - {case["strategy"] for case in cases if case["missed"]}, key=strategy_rank)


def missed_words(cases: Sequence[Case], strategy: str) -> str:
    """`0 of 656 aborts missed (at most 0.56 %)`, or `163 of 360 aborts missed (45 % [40 to 51 %])`."""
    missed = sum(case["missed"] for case in cases if case["strategy"] == strategy)
    aborts = sum(case["aborts"] for case in cases if case["strategy"] == strategy)
    low, high = (100 * end for end in proportion_interval(missed, aborts))
    if not missed:
        return f"0 of {aborts:,} aborts missed (at most {number(high)} %)"
    return f"{missed:,} of {aborts:,} aborts missed ({100 * missed / aborts:.0f} % [{low:.0f} to {high:.0f} %])"


def missed_share(cases: Sequence[Case], strategy: str) -> float:
    """Missed of all aborts of this strategy."""
    own = [case for case in cases if case["strategy"] == strategy]
    missed, aborts = (sum(int(case[what]) for case in own) for what in ("missed", "aborts"))
    return missed / max(1, aborts)


def worst(cases: Sequence[Case], strategies: Collection[str]) -> dict[str, Case]:
    """Strategy -> its case with the longest median stop, over the places where all these strategies have a median."""
    timed = [case for case in cases if case["strategy"] in strategies and _p50(case) is not None]
    having: dict[Place, set[str]] = {}
    for case in timed:
        having.setdefault(place_of(case), set()).add(case["strategy"])
    shared = {place for place, names in having.items() if names == set(strategies)}
    found: dict[str, Case] = {}
    for case in timed:
        known = found.get(case["strategy"])
        if place_of(case) in shared and (known is None or _p50(case) > _p50(known)):
            found[case["strategy"]] = case
    return found


def level_with(evidence: Evidence, cases: Sequence[Case], leader: str, others: Collection[str]) -> list[str]:
    """Those of the others that the leader is nowhere told to be quicker than."""
    by_place = {(place_of(case), case["strategy"]): case for case in cases if _p50(case) is not None}
    level = []
    for name in sorted(set(others) - {leader}, key=strategy_rank):
        pairs = [
            (by_place[place, leader], case)
            for (place, strategy), case in by_place.items()
            if strategy == name and (place, leader) in by_place
        ]
        if pairs and not any(evidence.quicker(first, second) for first, second in pairs):
            level.append(name)
    return level


def _p50(case: Case) -> Any:
    return case["metrics"].get(METRIC, {}).get("p50")
