"""When a run is sure: its advice is decided at a level that many looks do not inflate, or its p95 is precise."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.analysis.choice import Chooser, Decision, situations_of
from bench.analysis.comparison import STOP, comparisons_of
from bench.analysis.precision import blocks_needed, outliers
from bench.analysis.reading import Run
from bench.cli.options import percentage
from bench.record.manifest import Manifest
from bench.record.summary import Metric, MetricIntervals, Summary, SummaryCase
from bench.stats.sequential import EARLY_ALPHA, early_level
from bench.workload.scenario import PlanError

MANIFEST = Manifest(settings={"early": True})
MOST = 7
STREAMS = 50


def summarised(blocks: dict[str, list[float]], floor_ms: float = 0.0) -> Summary:
    """The summary of strategies whose blocks had these median stops, in one scenario with two workers."""
    cases = [
        SummaryCase(
            strategy=name, store="redis", delivery="push", scenario="flowing", workers=2, streams=STREAMS, aborts=100,
            metrics={STOP: Metric(n=100, p50=sorted(values)[len(values) // 2], ci95=MetricIntervals())},
        )
        for name, values in blocks.items()
    ]  # fmt: skip
    values = {(case.key, STOP): dict(enumerate(blocks[case.strategy])) for case in cases}
    rows = comparisons_of(Run(Path(), MANIFEST, [], []), cases, values)
    floor = Metric(n=40, p50=floor_ms, ci95=MetricIntervals())
    return Summary(valid=True, cases=cases, comparisons=rows, floor=floor)


def decision(summary: Summary) -> Decision:
    return Chooser(summary).decision(situations_of(summary, MANIFEST))


def test_a_clear_difference_is_decided_and_a_small_one_stays_open() -> None:
    clear = {"redis-push": [2.0, 2.1, 1.9, 2.0, 2.05], "redis-poll": [50.0, 52.0, 49.0, 51.0, 50.0]}
    assert decision(summarised(clear)) == Decision(1, [])
    close = {"redis-push": [2.0, 2.5, 1.9, 2.2, 2.05], "redis-poll": [2.1, 2.2, 2.4, 2.1, 2.0]}
    assert decision(summarised(close)).undecided == ["redis-poll against redis-push"]
    assert decision(summarised(close, floor_ms=5.0)).undecided == []  # no difference below the floor is ever claimed
    few = {name: values[:4] for name, values in clear.items()}
    assert decision(summarised(few)).undecided == ["redis-poll against redis-push"]


def test_the_levels_of_all_looks_add_up_to_less_than_they_may_spend() -> None:
    assert EARLY_ALPHA * 0.99 < sum(early_level(blocks) for blocks in range(5, 1005)) < EARLY_ALPHA
    with pytest.raises(ValueError, match="needs 5"):
        early_level(4)


def test_at_most_one_run_in_twenty_excludes_a_strategy_that_is_not_slower() -> None:
    count = 2
    drawn, runs = random.Random(7), 60
    wrong = 0
    for _run in range(runs):
        blocks: dict[str, list[float]] = {f"redis-{number}": [] for number in range(count)}
        for done in range(1, MOST + 1):
            machine = drawn.gauss(0, 0.2)
            for values in blocks.values():
                values.append(2.0 * 2.718281828 ** (machine + drawn.gauss(0, 0.1)))
            if done >= 5 and not decision(summary := summarised(blocks)).undecided:
                break
        cases = situations_of(summary, MANIFEST).many
        pick = Chooser(summary).pick(cases, list(blocks))
        wrong += pick is not None and len(pick.chosen) < count
    assert wrong / runs <= 0.05


def test_the_missing_blocks_follow_from_the_spread() -> None:
    assert blocks_needed(0.05, 5, 0.10) == 5
    assert 10 <= blocks_needed(0.20, 5, 0.10) <= 20  # four times the blocks, less for the narrower quantile of t
    assert outliers(dict(enumerate([12.0, 13.0, 13.0, 14.0, 31.0]))) == [
        "outliers: the p95 of block 5 (31.0 ms), where the others have 13.0 ms at the median"
    ]
    assert outliers(dict(enumerate([12.0, 13.0, 13.0, 14.0, 15.0]))) == []


@pytest.mark.parametrize("text", ["0%", "-1", "-1%", "abc", "10", "100%", "nan%", "%"])
def test_an_interval_is_a_percentage(text: str) -> None:
    assert percentage("10%", "--interval") == pytest.approx(0.1)
    with pytest.raises(PlanError, match="such as 10%"):
        percentage(text, "--interval")
