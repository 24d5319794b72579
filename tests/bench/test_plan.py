"""What is planned: which strategies, which scenarios, and the same abort moments for every strategy."""

from pathlib import Path

import pytest

import backends
from bench.plan import (
    SCENARIOS,
    STRATEGIES,
    PlanError,
    Scenario,
    abort_moments,
    load_scenario,
    load_scenarios,
    select,
)

CATALOGUE = {scenario.name: scenario for scenario in load_scenarios()}
QUICK = {scenario.name: scenario for scenario in load_scenarios(quick=True)}


def scenario(**changes: object) -> Scenario:
    settings: dict[str, object] = {
        "name": "test", "sentence": "", "ttft_ms": 100, "itl_ms": 20, "output_tokens": 50, "streams": 5, "chats": 40,
        "abort_share": 0.5,
    }  # fmt: skip
    return Scenario(**(settings | changes))  # type: ignore[arg-type]  # wrong values are what some tests are about


def test_every_strategy_of_the_service_is_measured() -> None:
    assert {*backends.STRATEGIES, "none", "disconnect"} == set(STRATEGIES)


@pytest.mark.parametrize(
    ("backend", "named"),
    [
        ("memory", {"memory-poll", "memory-push"}),
        ("redis", {"redis-poll", "redis-timer", "redis-push"}),
        ("postgres", {"postgres-poll", "postgres-timer", "postgres-push"}),
        ("all", set(backends.STRATEGIES)),
    ],
)
def test_reference_points_are_always_measured(backend: str, named: set[str]) -> None:
    plan = select(backend)
    assert set(plan) == {"none", "disconnect"} | named
    assert all([case.scenario.name for case in cases] == list(SCENARIOS) for cases in plan.values())
    assert all(case.strategy == strategy for strategy, cases in plan.items() for case in cases)


def test_store_and_delivery_of_a_case() -> None:
    cases = {strategy: cases[0] for strategy, cases in select("redis").items()}
    assert (cases["redis-push"].store, cases["redis-push"].delivery) == ("redis", "push")
    assert (cases["none"].store, cases["none"].delivery) == (None, None)
    assert (cases["disconnect"].store, cases["disconnect"].delivery) == (None, None)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_seed_gives_the_same_moments_and_another_gives_others(name: str) -> None:
    moments = abort_moments(CATALOGUE[name], 7)
    assert moments == abort_moments(CATALOGUE[name], 7)
    if CATALOGUE[name].abort_share:
        assert moments != abort_moments(CATALOGUE[name], 8)


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("catalogue", [CATALOGUE, QUICK], ids=["full", "quick"])
def test_moments_lie_in_the_window_and_are_as_many_as_asked(name: str, catalogue: dict[str, Scenario]) -> None:
    each = catalogue[name]
    low_ms, high_ms = each.abort_window_ms
    moments = [moment for moment in abort_moments(each, 1) if moment is not None]
    assert len(moments) == round(each.abort_share * each.chats)
    assert all(low_ms <= moment <= high_ms for moment in moments)
    if moments:  # spread over the window, not heaped
        assert min(moments) < low_ms + 0.1 * (high_ms - low_ms)
        assert max(moments) > high_ms - 0.1 * (high_ms - low_ms)


def test_the_sizes_that_were_promised() -> None:
    def aborts(each: Scenario) -> int:
        return sum(moment is not None for moment in abort_moments(each, 1))

    assert aborts(CATALOGUE["flowing"]) >= 310  # 300 must count, some may come late
    assert all(aborts(QUICK[name]) >= 76 for name in ("flowing", "stalled", "first-token"))  # a p95 needs 72
    assert aborts(CATALOGUE["steady"]) == 0


def test_aborts_of_stalled_fall_into_the_silence() -> None:
    each = CATALOGUE["stalled"]
    assert each.stall_at is not None
    silent_from_ms = each.ttft_ms + (each.stall_at - 1) * each.itl_ms
    assert each.abort_window_ms == (silent_from_ms + 150, silent_from_ms + each.stall_ms - 150)


def test_aborts_of_first_token_come_before_it() -> None:
    assert CATALOGUE["first-token"].abort_window_ms == (100, CATALOGUE["first-token"].ttft_ms - 100)


def test_the_marker_tells_the_mock_everything() -> None:
    assert CATALOGUE["steady"].marker == "[mock:ttft_ms=50,itl_ms=20,output_tokens=75]"
    assert CATALOGUE["stalled"].marker.endswith("stall_at=15,stall_ms=3000]")


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"backend": "mysql"}, ["BACKEND", "mysql", "all, memory, postgres, redis"]),
        ({"scenarios": ["flowing", "gone"]}, ["SCENARIO", "gone", "flowing, stalled, first-token, steady"]),
        ({"scenarios": []}, ["SCENARIO", "flowing, stalled, first-token, steady"]),
        ({"workers": 0}, ["WORKERS", "1 to 64"]),
        ({"workers": 65}, ["WORKERS", "1 to 64"]),
    ],
)
def test_bad_values_are_refused_with_the_choices(wrong: dict[str, object], names: list[str]) -> None:
    with pytest.raises(PlanError) as refused:
        select(**wrong)  # type: ignore[arg-type]  # wrong on purpose
    assert all(name in str(refused.value) for name in names)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"abort_share": 1.5}, "abort_share"),
        ({"chats": 0}, "chats"),
        ({"itl_ms": -1}, "0 ms or more"),
        ({"stall_ms": 100}, "stall_at"),
        ({"stall_at": 50, "stall_ms": 100}, "stall_at"),
        ({"abort_over": "silence"}, "stall"),
        ({"abort_over": "never"}, "stream, silence, wait"),
        ({"abort_over": "wait", "abort_margin_ms": 50}, "abort_margin_ms"),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(PlanError, match=rule):
        scenario(**changes)


def test_an_unknown_setting_is_refused_with_the_choices(tmp_path: Path) -> None:
    file = tmp_path / "odd.toml"
    file.write_text("ttft = 3\n")
    with pytest.raises(PlanError, match=r"unknown ttft; choose from .*ttft_ms"):
        load_scenario(file)


@pytest.mark.parametrize("text", ["= 3", 'ttft_ms = "soon"', "ttft_ms = 3"])
def test_a_broken_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "odd.toml"
    file.write_text(text)
    with pytest.raises(PlanError, match="odd"):
        load_scenario(file)
