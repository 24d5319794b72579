"""The estimates and their intervals, against scipy's own tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.stats.hodges_lehmann import paired, unpaired


def test_the_paired_estimate_by_hand() -> None:
    # Walsh averages of 1, 2, 10: 1, 1.5, 2, 5.5, 6, 10.
    assert paired([1.0, 2.0, 10.0]).estimate == pytest.approx(3.75)


def test_the_unpaired_estimate_by_hand() -> None:
    # Differences of 5, 8 to 1, 2, 3: 4, 3, 2, 7, 6, 5.
    assert unpaired([1.0, 2.0, 3.0], [5.0, 8.0]).estimate == pytest.approx(4.5)


@pytest.mark.parametrize("size", range(5, 13))
def test_the_paired_interval_is_where_wilcoxons_test_stops_rejecting(size: int) -> None:
    values = np.random.default_rng(size).normal(size=size)
    found = paired(list(values), 0.90)
    for end, inwards in ((found.low, 1e-9), (found.high, -1e-9)):
        kept = stats.wilcoxon(values - end - inwards, method="exact").pvalue
        refused = stats.wilcoxon(values - end + inwards, method="exact").pvalue
        assert refused <= 0.10 < kept


@pytest.mark.parametrize(("left", "right"), [(5, 5), (5, 9), (8, 6), (12, 12)])
def test_the_unpaired_interval_is_where_mann_and_whitneys_test_stops_rejecting(left: int, right: int) -> None:
    rng = np.random.default_rng(left * 100 + right)
    old, new = rng.normal(size=left), rng.normal(size=right)
    found = unpaired(list(old), list(new), 0.90)
    for end, inwards in ((found.low, 1e-9), (found.high, -1e-9)):
        kept = stats.mannwhitneyu(new - end - inwards, old, method="exact").pvalue
        refused = stats.mannwhitneyu(new - end + inwards, old, method="exact").pvalue
        assert refused <= 0.10 < kept


def test_four_pairs_have_no_90_percent_interval_and_five_have() -> None:
    assert paired([1.0, 2.0, 3.0, 4.0])[1:] == (-math.inf, math.inf)
    assert paired([1.0, 2.0, 3.0, 4.0, 5.0])[1:] == (1.0, 5.0)
