"""When to stop adding blocks: the case known least decides, and a tenth of a millisecond is known well enough."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from bench.run.stopping import fits, loosest, tight_enough

TIGHT = [10.0, 10.1, 9.9, 10.0, 10.0]
LOOSE = [10.0, 13.0, 8.0, 11.0, 9.0]
TINY = [0.10, 0.02, 0.16, 0.09, 0.12]  # half its centre, but hundredths of a millisecond


def test_the_loosest_case_is_named_with_half_its_interval() -> None:
    name, share = loosest({"a": TIGHT, "b": LOOSE, "c": TINY})
    low, high = stats.t.interval(0.95, 4, loc=10.2, scale=stats.sem(LOOSE))
    assert name == "b"
    assert share == pytest.approx((high - low) / 2 / 10.2)


def test_what_is_known_to_a_tenth_of_a_millisecond_is_known() -> None:
    assert loosest({"c": TINY}) == ("c", 0.0)
    assert loosest({"c": [100 * each for each in TINY]})[1] > 0.5


def test_one_block_or_none_says_nothing_of_the_spread() -> None:
    assert loosest({"a": TIGHT, "b": [10.0]}) == ("b", math.inf)
    assert loosest({"a": TIGHT, "b": []}) == ("b", math.inf)
    assert loosest({"a": [-1.0, 1.0]}) == ("a", math.inf)
    with pytest.raises(ValueError, match="empty"):
        loosest({})


@pytest.mark.parametrize(
    ("values", "enough"),
    [
        ({"a": TIGHT, "c": TINY}, True),
        ({"a": TIGHT, "b": LOOSE}, False),
        ({"a": TIGHT[:4]}, False),  # no verdict is given on four blocks, however tight
        ({}, True),
    ],
)
def test_blocks_are_added_until_all_cases_are_tight(values: dict[str, list[float]], enough: bool) -> None:
    assert tight_enough(values) is enough


@pytest.mark.parametrize(
    ("ends_s", "more"),
    [
        ([0, 180], True),
        ([0, 400], False),  # nothing else is known of the length of a block yet
        ([0, 180, 300, 420, 540], True),  # the first block's extra minute does not come again
        ([0, 180, 300, 420, 541], False),
    ],
)
def test_one_more_block_is_begun_only_when_it_fits(ends_s: list[float], more: bool) -> None:
    assert fits(ends_s, 660) is more
