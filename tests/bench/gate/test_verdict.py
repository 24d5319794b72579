"""One decision: what the margin means, what each verdict needs, and what the numbers beside it say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.gate.verdict import Decision, Margin, decide
from tests.bench.fake_gate import arm

STOP = Margin(0.15, slack=0.75)
TWO_MS = [2.0, 2.1, 1.9, 2.05, 1.95, 2.0]


def by(values: list[float], factor: float = 1.0, plus: float = 0.0) -> list[float]:
    return [value * factor + plus for value in values]


def decide_unpaired(base: list[float], head: list[float], margin: Margin) -> Decision:
    return decide(base, head, margin, side_by_side=False)


def test_the_margin_is_share_plus_slack_to_the_digit() -> None:
    """Both sides of `base * 1.15 + 0.75`, for a small, a large and a zero base."""
    for base in (0.0, 1.0, 2.0, 1400.0):
        edge = base * 1.15 + 0.75
        within, beyond = (decide([base] * 6, [edge + nudge] * 6, STOP) for nudge in (-1e-6, 1e-6))
        assert within.verdict == "equivalent"
        assert beyond.verdict == "worse"


def test_a_fifth_of_a_millisecond_on_one_is_no_regression() -> None:
    assert decide(by(TWO_MS, 0.5), by(TWO_MS, 0.5, plus=0.2), STOP).verdict == "equivalent"


def test_five_milliseconds_on_two_are() -> None:
    found = decide(TWO_MS, by(TWO_MS, plus=5.0), STOP)
    assert found.verdict == "worse"
    assert found.p_worse < 1e-6 < found.p_better
    assert found.shift == pytest.approx(5.0, abs=0.1)
    assert found.ratio == pytest.approx(3.5, abs=0.1)
    assert (found.base, found.head) == (2.0, 7.0)


def test_better_is_worse_turned_around() -> None:
    there, back = decide(TWO_MS, by(TWO_MS, 3.0), STOP), decide(by(TWO_MS, 3.0), TWO_MS, STOP)
    assert (there.verdict, back.verdict) == ("worse", "better")
    assert there.effect == pytest.approx(-back.effect)
    assert there.p_worse == pytest.approx(back.p_better)


def test_more_throughput_is_better() -> None:
    rate = Margin(0.10, slack=0.1, higher_is_better=True)
    more, less = decide(TWO_MS, by(TWO_MS, 2.0), rate), decide(by(TWO_MS, 2.0), TWO_MS, rate)
    assert (more.verdict, less.verdict) == ("better", "worse")
    assert more.ratio == pytest.approx(2.0, abs=0.1)
    assert less.ratio == pytest.approx(0.5, abs=0.05)
    low, high = less.interval("ratio")
    assert low is not None
    assert high is not None
    assert low <= 0.5 <= high < 1


def test_the_interval_holds_the_effect_and_reads_alike_in_both_units() -> None:
    found = decide(TWO_MS, [2.6, 2.2, 2.9, 2.4, 2.5, 2.7], STOP)
    assert found.low <= found.effect <= found.high
    for end, shift in zip(found.interval("ratio"), found.interval("shift"), strict=True):
        assert end is not None
        assert shift is not None
        assert end == pytest.approx(1 + shift / 2.0)


def test_large_and_scattered_is_not_worse() -> None:
    """Beyond the margin on average, but such a sample shows that by luck."""
    found = decide([2.0] * 6, [1.0, 6.0, 2.5, 9.0, 1.2, 7.0], STOP)
    assert found.effect > found.limit
    assert found.verdict == "inconclusive"


def test_significant_but_less_than_such_a_sample_finds_is_luck() -> None:
    """Effect and p would do; but of true changes of this size such a sample misses more than it finds."""
    spread = np.array([-1.0, 1.0, -0.5, 0.5, -0.2, 0.2])
    logs = 0.5 + spread * 0.5 / (4.5 * spread.std(ddof=1) / math.sqrt(6))  # t = 4.5, five degrees of freedom
    found = decide([2.0] * 6, list((2.0 + 0.75) * np.exp(logs) - 0.75), STOP)
    assert found.effect > found.limit
    assert found.p_worse < 0.005
    assert found.verdict == "inconclusive"


def test_certain_but_small_is_equivalent() -> None:
    found = decide(TWO_MS, by(TWO_MS, plus=0.1), STOP)
    assert found.p_worse < 1e-4
    assert found.verdict == "equivalent"


def test_four_blocks_decide_nothing() -> None:
    assert decide(TWO_MS[:4], by(TWO_MS[:4], plus=50.0), STOP).verdict == "inconclusive"
    assert decide(TWO_MS[:5], by(TWO_MS[:5], plus=50.0), STOP).verdict == "worse"
    assert decide([], [], STOP).verdict == decide([2.0], [2.0], STOP).verdict == "inconclusive"


def test_one_spoilt_block_does_not_move_the_estimate() -> None:
    """It widens the spread, so it can delay an equivalence, but not cause an alarm."""
    base = [2.0, 2.1, 1.9, 2.05, 1.95, 2.0, 2.1, 1.9, 2.02, 1.98]
    clean, spoilt = decide(base, base, STOP), decide(base, [*base[:-1], 20.0], STOP)
    assert (clean.verdict, spoilt.verdict) == ("equivalent", "inconclusive")
    assert abs(spoilt.effect) < 0.01


def test_what_swings_both_sides_of_a_block_cancels() -> None:
    """A CI runner that is now twice, now half as fast."""
    swing = [1.0, 2.2, 0.6, 1.9, 0.8, 1.4]
    base, head = ([value * each for value, each in zip(TWO_MS, swing, strict=True)] for _side in range(2))
    assert decide(base, head, STOP).verdict == "equivalent"
    assert decide(base, by(head, 3.0), STOP).verdict == "worse"


def test_blocks_without_any_spread_are_decided() -> None:
    ops = Margin(0.10, slack=0.02)
    assert decide([0.03] * 6, [0.03] * 6, ops).verdict == "equivalent"
    assert decide([0.03] * 6, [1.03] * 6, ops).verdict == "worse"
    assert decide([0.0] * 6, [0.0] * 6, ops).ratio is None


def test_power_is_that_of_the_t_test() -> None:
    """Against a simulation: how often a true change of the margin's size is significant."""
    rng = np.random.default_rng(3)
    margin, sigma = Margin(0.10), 0.03
    changes = rng.normal(margin.limit_at(100.0), sigma, (4000, 6))
    found = np.mean(stats.ttest_1samp(changes, 0, axis=1, alternative="greater").pvalue <= 0.005)
    x = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0])
    known = decide([100.0] * 6, list(100 * np.exp(x / x.std(ddof=1) * sigma)), margin)
    assert known.power == pytest.approx(found, abs=0.03)


def test_p_is_that_of_the_t_test() -> None:
    head = [2.6, 2.2, 2.9, 2.4, 2.5, 2.7]
    logs = [math.log((new + 0.75) / (old + 0.75)) for old, new in zip(TWO_MS, head, strict=True)]
    found = decide(TWO_MS, head, STOP)
    assert found.p_worse == pytest.approx(stats.ttest_1samp(logs, 0, alternative="greater").pvalue)
    assert found.p_better == pytest.approx(1 - found.p_worse)


def test_unpaired_p_is_welchs() -> None:
    old, new = [2.0, 2.2, 1.9, 2.1, 2.4], [3.0, 3.9, 2.8, 3.3, 3.1, 3.4, 3.0]
    found = decide_unpaired(old, new, STOP)
    sides = [np.log(np.array(side) + 0.75) for side in (new, old)]
    assert found.p_worse == pytest.approx(stats.ttest_ind(*sides, equal_var=False, alternative="greater").pvalue)
    assert found.blocks == 5
    assert found.low <= found.effect <= found.high


def test_unpaired_finds_what_is_there_and_only_that() -> None:
    rng = np.random.default_rng(5)
    old, same = (list(arm(rng, 4.0, 6, 0.03)) for _run in range(2))
    assert decide_unpaired(old, same, STOP).verdict == "equivalent"
    assert decide_unpaired(old, by(same, 2.0), STOP).verdict == "worse"
    assert decide_unpaired(by(old, 2.0), same, STOP).verdict == "better"
    assert decide_unpaired(old[:4], by(same, 2.0), STOP).verdict == "inconclusive"
    assert decide_unpaired([3.0] * 5, [3.0] * 5, STOP).verdict == "equivalent"


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_values_that_are_none_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="only numbers from 0 up"):
        decide([1.0, wrong], [1.0, 1.0], STOP)


def test_a_zero_needs_a_slack() -> None:
    with pytest.raises(ValueError, match="needs a slack"):
        decide([0.0, 1.0], [1.0, 1.0], Margin(0.1))


def test_blocks_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        decide([1.0, 2.0], [1.0], STOP)


@pytest.mark.parametrize(("share", "slack"), [(0.0, 1.0), (-0.1, 0.0), (0.1, -1.0)])
def test_a_margin_that_is_none_is_refused(share: float, slack: float) -> None:
    with pytest.raises(ValueError, match="a share above 0"):
        Margin(share, slack)
