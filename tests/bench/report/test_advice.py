"""The answer on top: it follows the data when the data flips, and says so where the data cannot tell."""

from __future__ import annotations

import msgspec
import pytest

from bench.record.manifest import Manifest
from bench.report.advice import BARE, MANY, ONE, OUTAGE, advise
from tests.bench.report.advice_cases import answer, case, chosen, summary


def test_the_quickest_that_misses_nothing_is_the_answer_and_flips_with_the_data() -> None:
    assert chosen(MANY, case("redis-push", p50=2.0), case("postgres-push", p50=4.0)) == ("redis-push",)
    assert chosen(MANY, case("redis-push", p50=4.0), case("postgres-push", p50=2.0)) == ("postgres-push",)


def test_a_strategy_that_misses_aborts_is_no_answer_however_quick() -> None:
    cases = [case("memory-push", p50=0.5, missed=150), case("redis-push", p50=2.0)]
    found = answer(advise(summary(*cases), Manifest()), MANY)
    assert found.choice == ("redis-push",)
    assert "Excluded because of missed aborts: memory-push." in found.text


def test_the_longest_median_over_the_scenarios_decides() -> None:
    cases = [
        case("redis-poll", "flowing", 1.0),
        case("redis-push", "flowing", 2.0),
        case("redis-poll", "stalled", 1500.0),
        case("redis-push", "stalled", 2.0),
    ]
    assert chosen(MANY, *cases) == ("redis-push",)
    assert chosen(MANY, *cases[:2]) == ("redis-poll",)


def test_every_figure_in_an_answer_has_its_interval_or_bound() -> None:
    says = answer(advise(summary(case("redis-push"), case("redis-poll", p50=20.0)), Manifest()), MANY).text
    assert "2.00 ms [1.90 to 2.10]" in says
    assert "20.0 ms [19.0 to 21.0]" in says
    assert "0 of 300 aborts missed (at most 1.22 %)" in says


@pytest.mark.parametrize(
    ("other_ms", "floor_ms", "level"),
    [
        pytest.param(2.05, None, True, id="intervals overlap"),
        pytest.param(2.4, None, True, id="apart, but nearer than runs are to each other"),
        pytest.param(2.6, None, False, id="apart"),
        pytest.param(2.6, 0.5, False, id="apart and beyond the floor"),
        pytest.param(2.6, 0.7, True, id="below the floor"),
    ],
)
def test_what_is_not_told_apart_is_offered_together(other_ms: float, floor_ms: float | None, level: bool) -> None:
    floor = {} if floor_ms is None else {"floor": {"n": 100, "p50": floor_ms, "ci95": {"p50": None}}}
    found = chosen(MANY, case("redis-push"), case("postgres-push", p50=other_ms), **floor)
    assert found == (("redis-push", "postgres-push") if level else ("redis-push",))


@pytest.mark.parametrize(
    ("a", "b", "verdict", "level"),
    [
        ("postgres-push", "redis-push", "slower", False),
        ("redis-push", "postgres-push", "faster", False),
        ("postgres-push", "redis-push", "not told apart", True),
        ("postgres-push", "redis-push", "below the floor: not claimed", True),
        ("postgres-push", "redis-push", "needs 5 blocks", False),
    ],
)
def test_the_run_s_own_comparison_over_blocks_goes_first(a: str, b: str, verdict: str, level: bool) -> None:
    """The intervals lie apart here; with too few blocks they decide, else the comparison does."""
    compared = {
        "scenario": "flowing", "workers": 2, "streams": 50, "a": a, "b": b, "metric": "upstream_stop_ms",
        "blocks": 6, "shift_ms": 1.0, "ratio": 1.5, "p_holm": 0.01, "verdict": verdict, "ci95": {},
    }  # fmt: skip
    found = chosen(MANY, case("redis-push"), case("postgres-push", p50=3.0), comparisons=[compared])
    assert found == (("redis-push", "postgres-push") if level else ("redis-push",))


def test_a_comparison_at_another_load_says_nothing_here() -> None:
    compared = {"scenario": "flowing", "workers": 4, "streams": 50, "a": "redis-push", "b": "postgres-push",
                "metric": "upstream_stop_ms", "blocks": 6, "shift_ms": 1.0, "ci95": {},
                "verdict": "not told apart"}  # fmt: skip
    assert chosen(MANY, case("redis-push"), case("postgres-push", p50=3.0), comparisons=[compared]) == ("redis-push",)


def test_workers_are_answered_apart() -> None:
    cases = [
        case("memory-push", p50=1.0, workers=1),
        case("redis-push", p50=2.0, workers=1),
        case("memory-push", p50=1.0, missed=150),
        case("redis-push", p50=2.0),
    ]
    advice = advise(summary(*cases), Manifest())
    assert answer(advice, ONE).choice == ("memory-push",)
    assert answer(advice, MANY).choice == ("redis-push",)
    assert answer(advise(summary(*cases[2:]), Manifest()), ONE).text.startswith("Not measured: ")


def test_one_worker_has_the_candidates_that_were_not_measured_on_one() -> None:
    """memory-push on one worker is in every run as a control; the others are there with more workers only."""
    cases = [
        case("memory-push", p50=1.0, workers=1), case("memory-push", p50=1.0, missed=150), case("redis-push", p50=2.0),
        case("redis-push", "stalled", 9.0), case("redis-timer", p50=50.0), case("redis-timer", p50=0.1, workers=4),
    ]  # fmt: skip
    found = answer(advise(summary(*cases), Manifest()), ONE)
    assert found.choice == ("memory-push",)
    assert "Next:" not in found.text  # it would rank figures of one worker with those of two
    assert (
        "figures from 2 workers, because these were not measured with one: redis-push and redis-timer (make bench"
        in found.text
    )
    cases[0] = case("memory-push", p50=5.0, workers=1)
    assert answer(advise(summary(*cases), Manifest()), ONE).choice == ("redis-push",)
    measured_too = answer(advise(summary(*cases, case("redis-push", p50=6.0, workers=1)), Manifest()), ONE)
    assert measured_too.choice == ("memory-push", "redis-push")
    assert "because these were not measured with one: redis-timer (" in measured_too.text


def test_a_quick_run_gives_no_choice_and_says_so() -> None:
    advice = advise(summary(case("redis-push")), Manifest(quick=True))
    assert all(not each.choice and "A QUICK run gives no choice" in each.text for each in advice.answers)
    assert advice.changes == []
    assert any("QUICK" in text for text in advice.footing)


def test_no_redis_leaves_redis_out() -> None:
    cases = [case("redis-push"), case("postgres-timer", p50=50.0), case("postgres-poll", p50=20.0)]
    assert chosen(BARE, *cases) == ("postgres-poll",)
    assert answer(advise(summary(cases[0]), Manifest()), BARE).choice == ()


def test_an_outage_is_survived_by_those_that_lost_nothing_accepted() -> None:
    usual = [case("redis-push"), case("postgres-push", p50=4.0)]
    down = [case("redis-push", "outage", missed=2), case("postgres-push", "outage", refused=7)]
    faulted = {(each.strategy, "outage") for each in down}
    found = answer(advise(summary(*usual, *down), Manifest(), faulted), OUTAGE)
    assert found.choice == ("postgres-push",)
    assert "7 aborts, those of rejected chats included, were never accepted; their clients received 503." in found.text
    assert "Accepted aborts were lost by: redis-push 2 of 300 aborts missed" in found.text
    down[0].missed = 0
    assert answer(advise(summary(*usual, *down), Manifest(), faulted), OUTAGE).choice == ("redis-push",)
    down[0].missed = down[1].missed = 1
    assert answer(advise(summary(*usual, *down), Manifest(), faulted), OUTAGE).choice == ()


def test_aborts_missed_in_an_outage_count_only_there() -> None:
    cases = [case("redis-push"), case("redis-push", "outage", missed=2)]
    assert answer(advise(summary(*cases), Manifest(), {("redis-push", "outage")}), MANY).choice == ("redis-push",)


def test_without_an_outage_nothing_is_said_about_one() -> None:
    found = answer(advise(summary(case("redis-push")), Manifest()), OUTAGE)
    assert found.choice == ()
    assert "no store was killed" in found.text
    manifest = msgspec.convert({"scenarios": {"flowing": {}, "steady": {}, "floor": {}}}, Manifest)
    says = answer(advise(summary(case("redis-push")), manifest), OUTAGE).text
    assert "make bench SCENARIO=flowing,steady,outage measures it" in says


def test_without_stops_beside_the_outage_nothing_is_ranked() -> None:
    down = case("redis-push", "outage")
    found = answer(advise(summary(down), Manifest(), {("redis-push", "outage")}), OUTAGE)
    assert found.choice == ("redis-push",)
    assert "Not ranked: no stop was measured while the store was available." in found.text


def test_hanging_up_is_no_merit_of_a_strategy() -> None:
    cases = [case("redis-push", p50=2.0), case("redis-poll", p50=1.0),
             case("redis-push", "disconnect", 1.0), case("redis-poll", "disconnect", 90.0)]  # fmt: skip
    manifest = msgspec.convert({"scenarios": {"disconnect": {"abort_by": "hangup"}}}, Manifest)
    assert answer(advise(summary(*cases), manifest), MANY).choice == ("redis-poll",)
    assert answer(advise(summary(*cases), Manifest()), MANY).choice == ("redis-push",)


def test_an_invalid_run_answers_nothing() -> None:
    advice = advise(summary(case("redis-push"), valid=False), Manifest())
    assert all(not each.choice and "not valid" in each.text for each in advice.answers)
    assert advice.changes == advice.footing == []


def test_too_few_stops_cannot_tell_and_all_missed_names_the_nearest() -> None:
    assert "Too few stops" in answer(advise(summary(case("redis-push", p50=None)), Manifest()), MANY).text
    found = answer(advise(summary(case("memory-push", missed=150), case("memory-poll", missed=100)), Manifest()), MANY)
    assert found.choice == ()
    assert "Fewest were missed by memory-poll: 100 of 300 aborts missed (33 % [28 to 39 %])" in found.text
