"""One load for two services: neighbours in time are a pair, one chat for each, in random order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.workload.scenario import load_scenarios
from bench.workload.schedule import can_be_paired, paired_schedule

(FLOWING, STORM) = load_scenarios(["flowing", "storm"])


@pytest.mark.parametrize("rate", [FLOWING.rate_per_s, None])
def test_neighbours_are_a_pair_with_the_same_abort(rate: float | None) -> None:
    planned = paired_schedule(replace(FLOWING, rate_per_s=rate, chats=40), 1, 0)
    assert len(planned) == 80
    for pair, (one, other) in enumerate(zip(planned[::2], planned[1::2], strict=True)):
        assert {one[0], other[0]} == {0, 1}
        assert one[1].index == other[1].index == pair
        assert one[1].abort_after_ms == other[1].abort_after_ms
    moments = [chat.at_ms for _service, chat in planned if chat.at_ms is not None]
    assert moments == sorted(moments)


def test_each_service_is_first_in_about_half_of_the_pairs() -> None:
    first = [service for service, _chat in paired_schedule(replace(FLOWING, chats=400), 1, 0)[::2]]
    assert 150 < sum(first) < 250


def test_the_load_keeps_its_rate() -> None:
    planned = paired_schedule(replace(FLOWING, chats=400), 1, 0)
    assert planned[-1][1].at_ms == pytest.approx(1000 * 800 / (FLOWING.rate_per_s or 0), rel=0.15)


def test_a_storm_is_one_event_and_is_not_shared() -> None:
    assert can_be_paired(FLOWING)
    assert not can_be_paired(STORM)
