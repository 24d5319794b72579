"""Percentiles and their thresholds, and intervals that hold the truth as often as they claim."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from scipy.stats import quantile_test

from bench.stats.percentiles import DIGITS, describe, describe_blocks, describe_values, interval95

BLOCK_SPREAD = 0.2
"""Standard deviation of the logarithm of what a whole block is slower or faster by."""
WITHIN = 0.4


@pytest.mark.parametrize(("name", "needed"), [("p50", 6), ("p95", 72), ("p99", 368)])
def test_a_percentile_needs_as_many_samples_as_its_interval(name: str, needed: int) -> None:
    few, enough = describe(list(range(needed - 1))), describe(list(range(needed)))
    assert few[name] is few["ci95"][name] is None
    low, high = enough["ci95"][name]
    assert low <= enough[name] <= high
    assert high <= needed - 1


@pytest.mark.parametrize("size", [368, 1000, 4321])
def test_percentiles_of_a_synthetic_trace_are_numpy_s(size: int) -> None:
    """A trace as stops are: a quick bulk, a long tail, ties where a poll waited for the same token."""
    rng = np.random.default_rng(size)
    trace = np.concatenate([rng.lognormal(0.7, 0.3, size // 2), rng.pareto(1.5, size // 3) * 10])
    trace = np.concatenate([trace, np.full(size - len(trace), 20.5)])
    rng.shuffle(trace)
    described = describe(trace.tolist())
    expected = np.percentile(trace, [50, 95, 99])
    assert [described[name] for name in ("p50", "p95", "p99")] == [round(float(each), DIGITS) for each in expected]
    assert described["mean"] == round(float(np.mean(trace)), DIGITS)
    assert described["n"] == size


def test_percentiles_and_interval_of_known_samples() -> None:
    described = describe(list(range(101)))
    assert (described["n"], described["p50"], described["p95"], described["mean"]) == (101, 50, 95, 50)
    # Binomial(101, 1/2): the 2.5 % quantile is 41 and the 97.5 % one 60, hence the 41st and the 61st smallest value.
    assert described["ci95"]["p50"] == [40, 60]


def test_the_interval_covers_the_true_median_in_95_of_100_samples() -> None:
    rng = random.Random(7)
    hits = 0
    for _ in range(400):
        low, high = interval95([rng.expovariate(1) for _ in range(60)], 0.5) or (0, 0)
        hits += low <= 0.6931 <= high
    assert hits / 400 >= 0.93


@pytest.mark.parametrize(("count", "quantile"), [(6, 0.5), (60, 0.5), (72, 0.95), (71, 0.95), (400, 0.99)])
def test_the_interval_is_scipy_s_own(count: int, quantile: float) -> None:
    rng = random.Random(count)
    samples = [rng.lognormvariate(0, 1) for _ in range(count)]
    theirs: Any = quantile_test(samples, p=quantile).confidence_interval(confidence_level=0.95)
    ours = interval95(samples, quantile)
    assert ours == (None if np.isnan(theirs.low) or np.isnan(theirs.high) else (theirs.low, theirs.high))


def test_no_samples_are_null_not_zero() -> None:
    assert describe([]) == {
        "n": 0, "p50": None, "p95": None, "p99": None, "mean": None, "ci95": {"p50": None, "p95": None, "p99": None},
    }  # fmt: skip


def test_one_block_gives_its_value_and_no_interval() -> None:
    described = describe_values([12.5])
    assert (described["n"], described["p50"], described["mean"]) == (1, 12.5, 12.5)
    assert described["p95"] is described["p99"] is described["ci95"]["p50"] is None


def coverage(describe: Callable[[Sequence[Any]], dict[str, Any]], name: str, quantile: float, blocks: int) -> float:
    """The share of 200 simulated runs in which the interval of a percentile holds the true one."""
    rng = np.random.default_rng(blocks)
    truth = math.exp(math.hypot(BLOCK_SPREAD, WITHIN) * NormalDist().inv_cdf(quantile))
    held = 0
    for _run in range(200):
        effects = rng.normal(0, BLOCK_SPREAD, (blocks, 1))
        low, high = describe(np.exp(effects + rng.normal(0, WITHIN, (blocks, 60))).tolist())["ci95"][name]
        held += low <= truth <= high
    return held / 200


@pytest.mark.parametrize("blocks", [5, 8])
@pytest.mark.parametrize(("name", "quantile"), [("p50", 0.5), ("p95", 0.95)])
def test_the_interval_over_blocks_covers_and_the_pooled_one_does_not(name: str, quantile: float, blocks: int) -> None:
    """With 20 % spread between blocks; the same function, once as the summary does it, once as if independent."""
    assert 0.92 <= coverage(describe_blocks, name, quantile, blocks) <= 0.98
    assert coverage(lambda samples: describe(np.ravel(samples).tolist()), name, quantile, blocks) < 0.75


def test_too_few_blocks_give_the_pooled_interval_by_name() -> None:
    rng = np.random.default_rng(3)
    blocks = [rng.lognormal(0.1 * block, 0.3, 40).tolist() for block in range(6)]
    pooled = describe([value for each in blocks[:4] for value in each])
    assert describe_blocks(blocks[:4]) == pooled | {"ci95_of": "chats"}
    assert describe_blocks([*blocks[:4], [1.0] * 5])["ci95_of"] == "chats"  # a handful is no block
    over = describe_blocks(blocks)
    pooled = describe([value for each in blocks for value in each])
    assert [over[name] for name in ("n", "p50", "p95", "p99", "mean")] == [
        pooled[name] for name in ("n", "p50", "p95", "p99", "mean")
    ]
    for name in ("p50", "p95"):
        assert over["ci95"][name][0] <= pooled["ci95"][name][0] < pooled["ci95"][name][1] <= over["ci95"][name][1]
    assert over["p99"] is over["ci95"]["p99"] is None


def test_zeros_have_an_interval_that_ends_at_zero() -> None:
    """Wasted tokens: most are 0, so there is no logarithm."""
    assert describe_blocks([[0.0] * 10] * 5)["ci95"]["p50"] == [0, 0]
    low, high = describe_blocks([[0.0] * 10] * 4 + [[5.0] * 10])["ci95"]["p50"]
    assert low == 0 < high
