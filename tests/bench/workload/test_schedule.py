"""When chats are sent and aborted, and the order of the strategies."""

from collections import Counter
from itertools import islice, pairwise

import pytest

from bench.workload.scenario import RAMP_MS, Scenario, catalogue, load_scenarios
from bench.workload.schedule import orders, schedule

CATALOGUE = {scenario.name: scenario for scenario in load_scenarios(catalogue())}
QUICK = {scenario.name: scenario for scenario in load_scenarios(catalogue(), quick=True)}


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_same_seed_gives_the_same_schedule_and_another_seed_or_block_another(name: str) -> None:
    planned = schedule(CATALOGUE[name], 7, 0)
    assert planned == schedule(CATALOGUE[name], 7, 0)
    assert planned != schedule(CATALOGUE[name], 8, 0)
    assert planned != schedule(CATALOGUE[name], 7, 1)


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("scenarios", [CATALOGUE, QUICK], ids=["full", "quick"])
def test_aborts_are_in_their_window_and_have_the_requested_number(name: str, scenarios: dict[str, Scenario]) -> None:
    each = scenarios[name]
    moments = [chat.abort_after_ms for chat in schedule(each, 1, 0) if chat.abort_after_ms is not None]
    assert len(moments) == round(each.abort_share * each.chats)
    if len(each.abort_over) > 1:
        windows = [each.window_ms(window) for window in each.abort_over]
        assert all(any(low_ms <= moment <= high_ms for low_ms, high_ms in windows) for moment in moments)
        return
    (window,) = each.abort_over
    low_ms, high_ms = each.window_ms(window)
    if window == "storm":
        return
    assert all(low_ms <= moment <= high_ms for moment in moments)
    if moments and low_ms < high_ms:  # spread over the window
        assert min(moments) < low_ms + 0.2 * (high_ms - low_ms)
        assert max(moments) > high_ms - 0.2 * (high_ms - low_ms)


def test_a_storm_aborts_all_chats_at_one_instant_while_all_are_live() -> None:
    each = CATALOGUE["storm"]
    planned = schedule(each, 1, 0)
    (moment,) = {round((chat.at_ms or 0) + (chat.abort_after_ms or 0), 6) for chat in planned}
    starts = [chat.at_ms for chat in planned if chat.at_ms is not None]
    assert len(starts) == each.chats
    assert max(starts) + each.ttft_ms < moment < min(starts) + each.chat_ms


def test_windows_are_drawn_by_their_weights() -> None:
    mixed = Scenario(
        name="mixed", sentence="", ttft_ms=100, itl_ms=20, output_tokens=50, streams=9, chats=4000, abort_share=1.0,
        abort_over={"wait": 1, "after": 3},
    )  # fmt: skip
    early = sum((chat.abort_after_ms or 0) < 100 for chat in schedule(mixed, 1, 0))
    assert 900 < early < 1100


def test_the_mixed_scenario_has_aborts_in_all_windows() -> None:
    each = CATALOGUE["mixed"]
    for seed in range(5):
        planned = schedule(each, seed, 0)
        moments = [chat.abort_after_ms for chat in planned if chat.abort_after_ms is not None]
        for window in ("wait", "stream", "last", "after"):
            low_ms, high_ms = each.window_ms(window)
            assert sum(low_ms <= moment <= high_ms for moment in moments) >= 2, window


def test_arrivals_of_an_open_loop_come_at_their_rate() -> None:
    settings = CATALOGUE["flowing"].settings() | {"chats": 2000}
    poisson = [chat.at_ms or 0.0 for chat in schedule(Scenario(**settings), 1, 0)]
    assert poisson == sorted(poisson)
    assert poisson[-1] == pytest.approx(2000 / 80 * 1000, rel=0.1)
    gaps = [later - earlier for earlier, later in pairwise(poisson)]
    assert sum(gap > 12.5 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.04)  # exp(-1): memoryless
    constant = [chat.at_ms or 0.0 for chat in schedule(Scenario(**settings | {"arrivals": "constant"}), 1, 0)]
    assert {round(later - earlier, 6) for earlier, later in pairwise(constant)} == {12.5}


def test_a_closed_loop_starts_its_readers_spread_over_the_ramp() -> None:
    each = Scenario(name="c", sentence="", ttft_ms=9, itl_ms=9, output_tokens=9, streams=20, chats=50)
    starts = [chat.at_ms for chat in schedule(each, 1, 0)]
    assert starts[20:] == [None] * 30
    assert all(start is not None and 0 <= start <= RAMP_MS for start in starts[:20])


def test_two_strategies_alternate_as_abba() -> None:
    first, second, third, fourth = islice(orders(["a", "b"], 1), 4)
    assert first == fourth == second[::-1] == third[::-1]


def test_each_of_more_strategies_has_each_position_once() -> None:
    names = ["a", "b", "c", "d", "e"]
    square = list(islice(orders(names, 1), 5))
    assert all(sorted(row) == names for row in square)
    for position in zip(*square, strict=True):
        assert Counter(position) == Counter(names)
    assert square != list(islice(orders(names, 2), 5))
