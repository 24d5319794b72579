"""Whether an aim was kept: intervals that hold what they should, and verdicts that need all of an interval."""

import math
import random

import pytest

from bench.experiments.goals import judge, of_percentiles, of_rounds


@pytest.mark.parametrize(
    ("ends", "at_least", "verdict"),
    [
        ((1.1, 1.5), False, "met"),
        ((1.3, 1.6), False, "undecided"),
        ((1.6, 1.9), False, "missed"),
        ((1.6, 1.9), True, "met"),
        ((1.1, 1.6), True, "undecided"),
        ((1.1, 1.4), True, "missed"),
        (None, False, "undecided"),
    ],
)
def test_only_a_whole_interval_decides(ends: tuple[float, float] | None, at_least: bool, verdict: str) -> None:
    assert judge(ends, 1.5, at_least=at_least) == verdict


def test_rounds_give_median_range_and_an_interval_that_does_not_care_which_side_is_above() -> None:
    found = of_rounds([1.0, 2.0, 4.0])
    assert (found["median"], found["min"], found["max"]) == (2.0, 1.0, 4.0)
    low, high = found["ci95"]
    assert low < 2.0 < high
    turned = of_rounds([1.0, 0.5, 0.25])["ci95"]
    assert [1 / turned[1], 1 / turned[0]] == pytest.approx([low, high])
    assert of_rounds([1.5])["ci95"] is None


def test_a_p99_needs_368_on_both_sides() -> None:
    many, few = [float(number) for number in range(1, 369)], [float(number) for number in range(1, 368)]
    assert of_percentiles(many, many, "p99")["ratio"] == 1
    assert of_percentiles(few, many, "p99")["ratio"] is None
    assert of_percentiles(many, few, "p99")["ratio"] is None


@pytest.mark.parametrize("true_ratio", [1.0, 3.0])
def test_the_interval_of_a_ratio_of_p99s_holds_the_true_one(true_ratio: float) -> None:
    rng = random.Random(7)
    held, trials = 0, 200
    for _ in range(trials):
        base = [math.exp(rng.gauss(0, 0.5)) for _ in range(400)]
        ours = [true_ratio * math.exp(rng.gauss(0, 0.5)) for _ in range(450)]
        low, high = of_percentiles(ours, base, "p99")["ci95"]
        held += low <= true_ratio <= high
    assert held / trials >= 0.95
