"""When a run is sure: its advice is decided at a level that many looks do not inflate, or its p95 is precise."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.choice import Chooser, Decision, situations_of
from bench.analysis.comparison import STOP, comparisons_of
from bench.analysis.precision import blocks_needed, outliers
from bench.analysis.reading import Run, read_run
from bench.analysis.summary import summary_of
from bench.cli.options import percentage
from bench.record.manifest import Manifest
from bench.record.summary import Metric, MetricIntervals, Summary, SummaryCase
from bench.report.render import content_of
from bench.run.stopping import Stopping, judge
from bench.stats.sequential import EARLY_ALPHA, early_level
from bench.workload.scenario import PlanError
from tests.bench import fake_blocks

Row = dict[str, Any]
MANIFEST = Manifest(settings={"early": True})
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
    """400 runs of up to 12 blocks; looks at the usual level instead of the early one exclude it in 15 % of them."""
    drawn, wrong = random.Random(7), 0
    for _run in range(400):
        blocks: dict[str, list[float]] = {"redis-push": [], "redis-poll": []}
        for done in range(1, 13):
            machine = drawn.gauss(0, 0.2)
            for values in blocks.values():
                values.append(2.0 * math.exp(machine + drawn.gauss(0, 0.1)))
            if done >= 5:
                found = decision(summary := summarised(blocks))
                assert found.comparisons == 1
                if not found.undecided:
                    break
        pick = Chooser(summary).pick(situations_of(summary, MANIFEST).many, list(blocks))
        wrong += pick is not None and len(pick.chosen) == 1
    assert 1 <= wrong <= 20


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


@pytest.mark.parametrize(
    ("settings", "blocks", "says", "sure"),
    [
        ({"early": True}, 6, "decided: all ", True),
        ({"early": True}, 4, "", False),
        ({"interval": 0.9}, 6, "every p95 has an interval of at most ±90%", True),
        ({"interval": 0.001}, 6, "more blocks = ", False),
    ],
)
def test_a_run_ends_by_its_files(tmp_path: Path, settings: Row, blocks: int, says: str, sure: bool) -> None:
    """Four blocks are too few to look at; a report says the same as the line after a block."""
    folder = written(tmp_path, settings, blocks)
    said = list[str]()
    assert Stopping(folder, 600, said.append).more(blocks, blocks * 60.0, {}) is not sure
    assert [says in line for line in said] == [True] * (blocks > 4)
    run = read_run(folder)
    facts = dict(content_of(run, summary_of(run))["facts"])
    assert says in facts["enough"]
    assert "early" not in facts.get("settings", "")
    assert not Stopping(folder, 1, said.append).more(blocks, blocks * 60.0, {})  # no further block fits


def test_an_invalid_run_is_not_sure(tmp_path: Path) -> None:
    folder = written(tmp_path, {"early": True}, 6)
    run = read_run(folder)
    text = (folder / "chats.jsonl.gz").read_bytes()
    (folder / "chats.jsonl.gz").write_bytes(text[: len(text) // 2])
    said = list[str]()
    assert Stopping(folder, 600, said.append).more(6, 360.0, {})
    assert "invalid so far" in said[0]
    assert judge(run, {})[0]


def written(tmp_path: Path, settings: Row, blocks: int) -> Path:
    changed = {"settings": {"workers": 2, **settings}}
    return fake_blocks.write(
        tmp_path / "run", strategies=("redis-poll", "redis-push"), scenarios=("flowing",), blocks=blocks, chats=60,
        manifest=changed,
    )  # fmt: skip
