"""The engine of paired and unpaired blocks: estimates by hand, intervals and p against scipy's own tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.stats.paired import half_width, holm, paired, t_interval, unpaired


def test_the_paired_estimate_by_hand() -> None:
    # Walsh averages of 1, 2, 10: 1, 1.5, 2, 5.5, 6, 10.
    assert paired([1.0, 2.0, 10.0]).estimate == pytest.approx(3.75)
    assert paired([1, 2, 6]).estimate == 2.75  # 1, 1.5, 2, 3.5, 4, 6
    assert paired([5]).estimate == 5
    assert paired([1, 1, 1, 1, 1, 1, 1, 1, 1, 900]).estimate == 1


def test_the_unpaired_estimate_by_hand() -> None:
    # Differences of 5, 8 to 1, 2, 3: 4, 3, 2, 7, 6, 5.
    assert unpaired([1.0, 2.0, 3.0], [5.0, 8.0]).estimate == pytest.approx(4.5)


@pytest.mark.parametrize("size", range(5, 13))
def test_the_paired_interval_is_where_wilcoxons_test_stops_rejecting(size: int) -> None:
    values = np.random.default_rng(size).normal(size=size)
    found = paired(list(values)).rank_interval(0.90)
    for end, inwards in ((found.low, 1e-9), (found.high, -1e-9)):
        kept = stats.wilcoxon(values - end - inwards, method="exact").pvalue
        refused = stats.wilcoxon(values - end + inwards, method="exact").pvalue
        assert refused <= 0.10 < kept


@pytest.mark.parametrize(("left", "right"), [(5, 5), (5, 9), (8, 6), (12, 12)])
def test_the_unpaired_interval_is_where_mann_and_whitneys_test_stops_rejecting(left: int, right: int) -> None:
    rng = np.random.default_rng(left * 100 + right)
    old, new = rng.normal(size=left), rng.normal(size=right)
    found = unpaired(list(old), list(new)).rank_interval(0.90)
    for end, inwards in ((found.low, 1e-9), (found.high, -1e-9)):
        kept = stats.mannwhitneyu(new - end - inwards, old, method="exact").pvalue
        refused = stats.mannwhitneyu(new - end + inwards, old, method="exact").pvalue
        assert refused <= 0.10 < kept


def test_four_pairs_have_no_90_percent_interval_and_five_have() -> None:
    assert paired([1.0, 2.0, 3.0, 4.0]).rank_interval(0.90) == (-math.inf, math.inf)
    assert paired([1.0, 2.0, 3.0, 4.0, 5.0]).rank_interval(0.90) == (1.0, 5.0)


def test_the_p_value_and_the_interval_are_scipy_s() -> None:
    values = [0.3, -0.1, 0.4, 0.2, 0.5, 0.1]
    expected = stats.ttest_1samp(values, 0)
    found = paired(values)
    assert found.p == pytest.approx(float(expected.pvalue))
    assert found.t_interval() == t_interval(values) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p_above == pytest.approx(float(stats.ttest_1samp(values, 0, alternative="greater").pvalue))
    assert found.p_below == pytest.approx(1 - found.p_above)


def test_values_without_spread_are_certain_and_one_value_shows_nothing() -> None:
    assert (paired([0.0] * 5).p, paired([0.5] * 5).p) == (1.0, 0.0)
    assert (t_interval([0.5] * 5), t_interval([0.5])) == ((0.5, 0.5), None)
    assert half_width([1.0]) == math.inf


def test_holm_is_step_down_keeps_the_order_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
