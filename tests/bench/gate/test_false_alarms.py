"""A strategy against itself: at most 5 % of comparisons are false alarms, and intervals cover what they claim."""

from __future__ import annotations

import math
import random

import pytest

from bench.analysis.comparison import compare
from bench.gate.aa_test import COMPARISONS, false_alarms, split
from bench.record.verdict import FalseAlarms

NOISES = ("5 %", "10 %", "heavy tails", "a block in ten is twice as slow")
BLOCKS = range(5, 13)
LABELS = [f"redis-push {number}" for number in range(7)]


def noise(kind: str, rng: random.Random) -> float:
    """What a run adds to the logarithm of a latency."""
    if kind == "heavy tails":  # Student's t with 3 degrees of freedom: no kurtosis
        return 0.05 * rng.gauss(0, 1) / math.sqrt(sum(rng.gauss(0, 1) ** 2 for _ in range(3)) / 3)
    if kind == "a block in ten is twice as slow":
        return rng.gauss(0, 0.05) + (math.log(2) if rng.random() < 0.1 else 0)
    return rng.gauss(0, 0.05 if kind == "5 %" else 0.1)


def measured(kind: str, blocks: int, rng: random.Random, faster: float = 1.0) -> dict[int, float]:
    """Block values of a strategy that stops in 2 ms, divided by `faster`."""
    return {block: 2 / faster * math.exp(noise(kind, rng)) for block in range(blocks)}


def check_rates(kind: str, runs: int) -> None:
    """Holm holds for the whole run: in 1 run of 20 there may be any alarm at all; three standard errors are allowed."""
    rng = random.Random(kind)
    found = [
        false_alarms({label: measured(kind, BLOCKS[number % len(BLOCKS)], rng) for label in LABELS})
        for number in range(runs)
    ]
    assert all(each.comparisons == COMPARISONS for each in found)
    assert sum(each.rate or 0.0 for each in found) / runs <= 0.05
    assert sum(each.alarms > 0 for each in found) / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert 0.01 <= sum(each.uncorrected or 0.0 for each in found) / runs <= 0.06  # it can still find something


@pytest.mark.parametrize("kind", NOISES)
def test_twenty_comparisons_of_the_same_strategy_raise_next_to_no_alarm(kind: str) -> None:
    """With 400 runs in tests/slow/gate."""
    check_rates(kind, runs=120)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("blocks", [5, 8, 12])
def test_the_interval_holds_the_truth_in_95_of_100_experiments(kind: str, blocks: int) -> None:
    rng = random.Random(f"{kind} {blocks}")
    held = within = 0
    for _ in range(800):
        found = compare(measured(kind, blocks, rng), measured(kind, blocks, rng))
        assert found is not None
        assert found.ratio_ci95 is not None
        low, high = found.ratio_ci95
        held += low <= 1 <= high
        within += low <= (found.ratio or 0) <= high
    assert held / 800 >= 0.93
    assert within == 800


@pytest.mark.parametrize("kind", NOISES[:3])
def test_twice_as_fast_is_found(kind: str) -> None:
    """An alarm that never comes would pass the test above: this one must come, among nineteen that must not."""
    rng = random.Random(kind)
    found = 0
    for _ in range(50):
        tables = {label: measured(kind, 8, rng) for label in LABELS[:-1]} | {"quick": measured(kind, 8, rng, faster=2)}
        pairs = [pair for pair in false_alarms(tables).pairs if pair.b == "quick"]
        found += all(pair.verdict == "slower" for pair in pairs)
    assert found >= 47


def test_labels_take_part_evenly() -> None:
    labels = "abcdefghijkl"
    pairs = false_alarms({label: {block: 1.0 + block for block in range(5)} for label in labels}).pairs
    counts = [sum(label in (pair.a, pair.b) for pair in pairs) for label in labels]
    assert len(pairs) == len({(pair.a, pair.b) for pair in pairs}) == 20
    assert set(counts) <= {2, 3, 4}


def test_too_few_labels_or_blocks_are_told() -> None:
    few = {label: dict.fromkeys(range(4), 1.0) for label in "abcdefg"}
    assert false_alarms(few) == FalseAlarms(comparisons=0, alarms=0)
    with pytest.raises(ValueError, match="6 labels make 15 comparisons, 20 were asked for"):
        false_alarms(dict(list(few.items())[:6]))


def test_one_strategy_s_blocks_are_split_into_labels_near_each_other() -> None:
    values = {block: float(block) for block in range(0, 76, 2)}  # 38 blocks, numbered with gaps
    tables = split(values, LABELS)
    assert {tuple(table) for table in tables.values()} == {(0, 1, 2, 3, 4)}
    for new_block in range(5):
        assert sorted(table[new_block] for table in tables.values()) == [14 * new_block + 2 * step for step in range(7)]
    assert tables == split(values, LABELS)
    assert tables != split(values, LABELS, seed=2)  # who gets which is chance
