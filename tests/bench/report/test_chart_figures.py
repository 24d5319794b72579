"""The figures that charts and their captions show: costs over blocks, means, short numbers, shares."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.report.charts import canvas
from bench.report.charts.cost import binned, cost_facts, pareto, relative
from bench.report.formatting import number, share, span
from bench.stats.proportions import proportion_interval
from bench.stats.spread import block_ends, mean_interval


def test_binning_keeps_small_counts_and_every_mean() -> None:
    assert binned([0.0, 1, 10, 11, 12, 85, 85]) == [0, 1, 10, 11.5, 11.5, 85, 85]


def cpu_of(**blocks: dict[int, float]) -> dict[str, pd.DataFrame]:
    return {"server_cpu_us_per_token": pd.DataFrame({name.replace("_", "-"): each for name, each in blocks.items()})}


def test_costs_are_compared_with_none_in_the_same_block() -> None:
    metric = "server_cpu_us_per_token"
    costs = cpu_of(redis_push={0: 2.0, 1: 30.0, 3: 7.0}, none={0: 1.0, 1: 10.0, 2: 5.0, 3: 0.0})
    assert relative(costs, metric) == (True, {"redis-push": [2, 3], "none": [1, 1, 1]})
    assert relative(cpu_of(redis_push={0: 2.0}), metric) == (False, {"redis-push": [2]})
    assert relative({}, metric) == (False, {})


def test_a_mean_s_interval_is_over_blocks_where_there_are_enough() -> None:
    mean, low, high = mean_interval({block: [block, block] for block in range(5)})
    assert mean == 2
    assert (low, high) == pytest.approx((2 - 2.776 * 1.5811 / 5**0.5, 2 + 2.776 * 1.5811 / 5**0.5), abs=1e-3)
    few = mean_interval({0: [0.0, 1.0], 1: [0.0, 1.0]})
    assert few[0] == 0.5
    assert few[1] == 0  # never below nothing
    assert mean_interval({0: [3.0]}) == (3, 3, 3)


def test_the_front_holds_what_nothing_beats() -> None:
    assert pareto([(2, 5), (1, 9), (3, 6), (4, 1), (1, 8)]) == [(1, 8), (2, 5), (4, 1)]


def test_costs_have_an_interval_from_five_blocks_on() -> None:
    five = {block: 2.0 + block / 10 for block in range(5)}
    costs = cpu_of(redis_poll=five, none=dict.fromkeys(five, 1.0))
    assert "2.20 [2.00 to 2.40] times with redis-poll" in canvas.chart("cost", **cost_facts(costs)).reading
    four = {metric: values.head(4) for metric, values in costs.items()}
    assert "2.15 times with redis-poll" in canvas.chart("cost", **cost_facts(four)).reading
    assert block_ends([1.0] * 4) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.0367, "0.037"),
        (1, "1.00"),
        (51.02, "51.0"),
        (99.96, "100"),
        (999.7, "1,000"),
        (1739.8, "1,740"),
    ],
)
def test_numbers_are_short_and_readable(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_share_never_rounds_a_rest_away() -> None:
    assert [share(*each) for each in ((0, 300), (1, 300), (150, 300), (299, 300), (300, 300), (0, 0))] == [
        "0 %", "under 1 %", "50 %", "over 99 %", "100 %", "0 %",
    ]  # fmt: skip


def test_none_of_few_may_still_be_some() -> None:
    low, high = proportion_interval(0, 300)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 300))
    assert proportion_interval(0, 0) == (0, 1)
    assert [span([360]), span([1360, 336])] == ["360", "336 to 1,360"]
