"""The search for the knee, over services whose knee is known; and what a probe makes of a measured case."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bench.experiments.knee import REPEATS, STEPS, Knee, Probe, find_knee, judge, rates
from bench.experiments.knee_run import add_to, all_rates, as_point, probe_of, scenario_at
from bench.experiments.tables import written
from bench.load.driver import MAX_CHUNKS_PER_S, MOST_PROCESSES, processes_for
from bench.record.manifest import Host, ScenarioSettings
from bench.record.schema import CaseRow, ChatRow
from bench.workload.plan import Case
from tests.bench.command import Bench

AT = rates(50, 600)
SLACK_MS = 20.0


def service(breaks_at: float, **when_broken: Any) -> Callable[[int], Probe]:
    """Stops in 5 ms up to a rate, and as told from there on."""
    broken: dict[str, Any] = {"p99_ms": 400.0} | when_broken
    return lambda rate: Probe(**({"p99_ms": 5.0, "chats": 400} | (broken if rate > breaks_at else {})))


@pytest.mark.parametrize("breaks_at", [50, 63, 99, 100, 101, 213, 399, 480])
def test_a_sharp_knee_is_found_between_two_neighbouring_rates(breaks_at: float) -> None:
    knee = find_knee(service(breaks_at), AT, slack_ms=SLACK_MS)
    assert (knee.ended_by, knee.censored, knee.limit_ms) == ("slow", False, 25.0)
    assert knee.ci95 is not None
    low, high = knee.ci95
    assert low <= breaks_at < high
    assert AT.index(int(high)) - AT.index(int(low)) == 1
    assert low < knee.chats_per_s < high


def test_rates_ascend_evenly_and_stay_within_what_the_load_can_offer() -> None:
    assert AT[0] == 50
    assert [AT[STEPS], AT[2 * STEPS]] == [100, 200]
    assert AT[-1] <= 600 < AT[-1] * 2 ** (1 / STEPS) + 1


@pytest.mark.parametrize(("cpus", "processes"), [(1, 2), (2, 2), (4, 4), (64, MOST_PROCESSES)])
def test_no_more_load_processes_are_started_than_the_machine_has_cores(
    monkeypatch: pytest.MonkeyPatch, cpus: int, processes: int
) -> None:
    monkeypatch.setattr("bench.experiments.knee_run.describe_host", lambda: Host(cpus=cpus))
    most = all_rates()[-1]
    assert processes_for([Case("redis-push", scenario_at(most), 2)]) == processes
    assert scenario_at(most).chunks_per_s <= processes * MAX_CHUNKS_PER_S


def test_one_odd_probe_at_the_lowest_rate_does_not_make_the_limit() -> None:
    odd = iter((300.0, 5.0, 6.0))
    knee = find_knee(lambda rate: Probe(next(odd, 5.0 if rate < 200 else 90.0), 400), AT, slack_ms=SLACK_MS)
    assert knee.limit_ms == 26.0
    assert knee.ended_by == "slow"


def test_when_the_load_gives_up_a_rate_below_is_shown_by_repetition() -> None:
    asked: list[int] = []

    def probe(rate: int) -> Probe:
        asked.append(rate)
        return Probe(5.0, 400, unhealthy=("the load was late",)) if rate > 200 else Probe(5.0, 400)

    knee = find_knee(probe, AT, slack_ms=SLACK_MS)
    assert (knee.ended_by, knee.censored, knee.ci95, knee.why) == ("load", True, None, "the load was late")
    assert knee.shown == knee.chats_per_s == 200.0
    assert asked[-REPEATS:] == [200] * REPEATS
    assert as_point("redis-push", knee)["chats_shown"] == 200.0


def test_points_are_added_to_a_run_s_folder_beside_those_of_other_strategies(tmp_path: Path) -> None:
    old, new = (
        as_point("redis-push", Knee(100.0, None, 22.5, "slow")),
        as_point("redis-push", Knee(200.0, None, 22.5, "slow")),
    )
    other = as_point("redis-poll", Knee(50.0, None, 22.5, "slow"))
    add_to(tmp_path, [old, other])
    add_to(tmp_path, [new])
    assert json.loads((tmp_path / "knee.json").read_text()) == [new, other]


def test_the_limit_is_relative_to_what_a_strategy_is_by_design() -> None:
    slow_by_design = find_knee(lambda rate: Probe(100.0 + (rate > 200) * 19.9, 400), AT, slack_ms=SLACK_MS)
    assert slow_by_design.limit_ms == 120.0
    assert slow_by_design.censored
    assert find_knee(lambda rate: Probe(100.0 + (rate > 200) * 20.1, 400), AT, slack_ms=SLACK_MS).ended_by == "slow"


@pytest.mark.parametrize(
    ("broken", "ended_by"),
    [({"p99_ms": 5.0, "missed": 1}, "missed"), ({"failed": 5}, "failed"), ({"p99_ms": None}, "failed")],
)
def test_what_ended_it_is_reported(broken: dict[str, Any], ended_by: str) -> None:
    assert find_knee(service(200, **broken), AT, slack_ms=SLACK_MS).ended_by == ended_by


def test_an_instrument_that_is_unhealthy_ends_the_search_whatever_it_measured() -> None:
    knee = find_knee(service(200, missed=9, unhealthy=("the load was late",)), AT, slack_ms=SLACK_MS)
    assert knee == Knee(200.0, None, 25.0, "load", "the load was late", 200.0)
    assert knee.censored


def test_a_hiccup_of_the_instrument_does_not_end_it() -> None:
    hiccups = iter(range(1000))

    def probe(rate: int) -> Probe:
        if next(hiccups) % 3 == 1:
            return Probe(900.0, 400, unhealthy=("a hiccup",))
        return service(213)(rate)

    knee = find_knee(probe, AT, slack_ms=SLACK_MS, repeats=0)
    assert knee.ended_by == "slow"
    assert 200 <= knee.chats_per_s <= 240


def test_a_service_that_carries_everything_has_its_knee_at_least_there() -> None:
    knee = find_knee(service(1e9), AT, slack_ms=SLACK_MS)
    assert (knee.chats_per_s, knee.ci95, knee.ended_by) == (float(AT[-1]), None, "load")
    assert str(AT[-1]) in knee.why


def test_a_strategy_that_fails_at_the_lowest_rate_carries_nothing() -> None:
    knee = find_knee(service(0, missed=3), AT, slack_ms=SLACK_MS)
    assert (knee.chats_per_s, knee.ended_by, knee.ci95) == (0.0, "missed", None)


@pytest.mark.parametrize("probes", [1, 3, 6, 8, 11])
def test_when_time_is_over_what_held_is_the_answer(probes: int) -> None:
    asked: list[int] = []

    def probe(rate: int) -> Probe:
        asked.append(rate)
        return service(213)(rate)

    knee = find_knee(probe, AT, slack_ms=SLACK_MS, more=lambda: len(asked) < probes)
    assert len(asked) == probes
    held = max(rate for rate in asked if rate <= 213)
    if probes < 9:  # 50 three times, 100, 200, 400, and three of bisection
        assert (knee.chats_per_s, knee.ended_by, knee.censored) == (float(held), "time", True)
    else:  # the knee is known, its interval is not
        assert (knee.ended_by, knee.ci95) == ("slow", None)
        assert 200 < knee.chats_per_s < 240


def test_the_interval_of_a_noisy_knee_holds_it_in_95_of_100() -> None:
    true_knee, held = 213.0, 0

    def noisy(rng: random.Random) -> Callable[[int], Probe]:
        """Even odds at the knee, nearly sure a third off it."""
        return lambda rate: Probe(5.0 if rng.random() < 1 / (1 + (rate / true_knee) ** 12) else 400.0, 400)

    found = [find_knee(noisy(random.Random(seed)), AT, slack_ms=SLACK_MS) for seed in range(400)]
    shown = [knee for knee in found if knee.ci95]
    held = sum(low <= true_knee <= high for low, high in (knee.ci95 for knee in shown if knee.ci95))
    assert len(shown) > 300
    assert held / len(shown) >= 0.95


def test_instrument_before_loss_before_failure_before_slowness() -> None:
    assert judge(Probe(99.0, 400, missed=1, failed=400, unhealthy=("late",)), 25.0) == "load"
    assert judge(Probe(99.0, 400, missed=1, failed=400), 25.0) == "missed"
    assert judge(Probe(99.0, 400, failed=400), 25.0) == "failed"
    assert judge(Probe(99.0, 400, failed=4), 25.0) == "slow"
    assert judge(Probe(25.0, 400, failed=4), 25.0) == "held"


HEAD: dict[str, Any] = {
    "strategy": "redis-push", "scenario": "flowing", "workers": 2, "streams": 50, "block": 0,
}  # fmt: skip


def case_row(*, dropped: int) -> CaseRow:
    return CaseRow(**HEAD, dropped=dropped, witness_late_p99_ms=1.0)


def chat(index: int, *, stop_ms: float | None, status: int = 200) -> dict[str, Any]:
    cut = stop_ms is not None
    lost_ns = int(1e9 + (stop_ms or 0) * 1e6)
    return {
        "strategy": "redis-push",
        "scenario": "knee-200",
        "workers": 2,
        "streams": 400,
        "block": 0,
        "request_id": f"chat-{index}",
        "index": index,
        "client": {
            "intended_ns": 0, "sent_ns": 1, "status": status, "headers_ns": 5, "token_ns": [], "end_ns": 2_000_000_000,
            "finish_reason": "abort" if cut else "stop", "tokens_after_finish": 0, "error": None,
        },
        "abort": {
            "after_ms": 1000.0, "intended_ns": 10**9, "sent_ns": 10**9, "tries": 1, "accepted_sent_ns": 10**9,
            "ack_ns": 10**9 + 1, "status": 200, "outcome": "accepted", "error": None, "again": None,
        },
        "service": None,
        "witness": {
            "outcome": "cut" if cut else "finished", "token_ns": [], "lost_ns": lost_ns,
            "done_ns": None if cut else 1_900_000_000,
        },
    }  # fmt: skip


def test_a_probe_counts_what_was_stopped_missed_and_failed() -> None:
    made = [chat(index, stop_ms=float(index)) for index in range(1, 102)]
    made += [chat(200, stop_ms=None), chat(201, stop_ms=3.0, status=502)]
    rows, settings = msgspec.convert(made, list[ChatRow]), ScenarioSettings()
    found = probe_of(rows, case_row(dropped=0), settings)
    assert found == Probe(100.0, chats=103, missed=1, failed=1)
    (problem,) = probe_of(rows, case_row(dropped=2), settings).unhealthy
    assert "2 chats" in problem


def test_a_point_of_knee_json_has_its_interval_in_aborts() -> None:
    point = as_point("redis-push", Knee(200.0, (180.0, 220.0), 22.5, "slow"))
    assert (point["chats_per_s"], point["aborts_per_s"]) == (200.0, 185.0)
    assert (point["ci95"], point["at_least"]) == ([166.5, 203.5], False)


def test_the_table_fits_into_80_columns() -> None:
    console = Console(width=80)
    ended = [Knee(1345.0, (1234.0, 1467.0), 122.5, "load", "", 1234.0), Knee(200.0, (180.0, 220.0), 22.5, "slow")]
    with console.capture() as capture:
        points = [as_point("postgres-timer", knee) for knee in ended]
        console.print(written("knee", points=points, wrap=True))
    assert "…" not in capture.get()
    assert "limit" in capture.get()


@pytest.mark.parametrize("backend", ["mysql", "none"])
def test_bad_usage_names_the_choices(bench: Bench, tmp_path: Path, backend: str) -> None:
    done = bench("knee", backend, "--results", str(tmp_path / "results"))
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "redis" in done.stderr
    assert "redis-push" in done.stderr
    assert not (tmp_path / "results").exists()
