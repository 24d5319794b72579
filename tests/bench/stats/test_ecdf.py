"""The curve of stops: missed aborts are mass that never arrives, and the band holds as often as it says."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats

from bench.stats.ecdf import ecdf_band


def test_missed_aborts_keep_the_curve_and_its_band_below_one() -> None:
    x, p, low, high = ecdf_band([4.0, 1.0, 2.0, 2.0], missed=4)
    assert x.tolist() == [1, 2, 4]
    assert p.tolist() == [1 / 8, 3 / 8, 4 / 8]
    expected = [stats.binomtest(stopped, 8).proportion_ci(0.95) for stopped in (1, 3, 4)]
    assert low == pytest.approx([each.low for each in expected])
    assert high == pytest.approx([each.high for each in expected])


def test_the_curve_is_kaplan_meier_s_with_the_missed_as_censored() -> None:
    rng = random.Random(1)
    samples = [rng.expovariate(1) for _ in range(40)]
    censored: stats.CensoredData = stats.CensoredData(samples, right=[max(samples) + 1] * 13)
    expected = stats.ecdf(censored).cdf
    x, p, _low, _high = ecdf_band(samples, missed=13)
    assert x == pytest.approx(expected.quantiles[:-1])
    assert p == pytest.approx(expected.probabilities[:-1])


def test_all_stopped_reaches_one_and_all_missed_is_no_curve() -> None:
    _x, p, low, high = ecdf_band([1.0, 2.0, 3.0], missed=0)
    assert (p[-1], high[-1]) == (1, 1)
    assert low[-1] == pytest.approx(0.025 ** (1 / 3))
    assert [len(each) for each in ecdf_band([], missed=5)] == [0, 0, 0, 0]


def test_the_band_holds_the_truth_at_a_point_in_95_of_100_samples() -> None:
    """40 aborts of which a fifth is missed on average: half of the others come within ln 2."""
    rng = random.Random(3)
    held = 0
    for _ in range(600):
        stops = [rng.expovariate(1) for _ in range(40) if rng.random() < 0.8]
        x, _p, low, high = ecdf_band(stops, missed=40 - len(stops))
        at = np.searchsorted(x, 0.6931, side="right") - 1
        held += low[at] <= 0.4 <= high[at]
    assert held / 600 >= 0.95
