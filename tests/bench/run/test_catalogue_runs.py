"""One real run over the catalogue's odd scenarios, shrunk: what each one is there to show is in its rows."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.analysis import health
from bench.analysis.summary import summarise
from bench.system.embedded import temporary_folder
from bench.workload.plan import Case
from tests.bench.small_runs import Row, cases_of, chats_of, execute, fates_of, schedule_of, small
from tests.bench.typed import problems

SCENARIOS = {
    each.name: each
    for each in (
        small("late", chats=12),
        small("double", chats=16, output_tokens=40),
        small("race", chats=16, output_tokens=20),
        small("storm", chats=30, streams=30, output_tokens=50),
        small("disconnect", chats=16, output_tokens=40),
        small("slow-reader"),  # whole, it takes two load processes, and its neighbours one
        small("wrong-worker", chats=24, output_tokens=40),
        small("outage", chats=40, fault_at_ms=900, fault_for_ms=300),
    )
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with temporary_folder("watch"):
        cases = [Case("redis-push", scenario, scenario.workers or 2) for scenario in SCENARIOS.values()]
        (made,) = execute(tmp_path_factory.mktemp("catalogue"), cases)
    return made


@pytest.fixture(scope="module")
def summary(folder: Path) -> Any:
    return msgspec.to_builtins(summarise(folder))


def rows_of(folder: Path, name: str) -> list[Row]:
    rows = [row for row in chats_of(folder) if row["scenario"] == name]
    assert len(rows) == SCENARIOS[name].chats
    return rows


def kinds(rows: list[Row], name: str) -> Counter[str]:
    fates = fates_of(rows, SCENARIOS[name])
    assert [each.error for each in fates if each.error] == []
    assert not any(each.wrong_stop or each.leaked or each.tokens_after_stop for each in fates)
    return Counter(each.outcome for each in fates)


def health_problems(folder: Path) -> list[str]:
    return [problem for case in cases_of(folder) for problem in problems(case)]


def test_the_run_is_valid_and_its_calibration_is_found_again(folder: Path, summary: dict[str, Any]) -> None:
    found = summary["calibration"]
    assert abs(found["delay_ms"]["recovered_p50"] - 10) <= 0.5
    low, high = found["drop_rate"]["ci95"]
    assert 0 < low <= 0.01 <= high
    assert found["lost_by_obedient_arms"] == 0
    assert 0 < summary["floor"]["p50"] < 2
    of_the_machine = [problem for problem in health_problems(folder) if problem in " ".join(summary["problems"])]
    assert len(summary["problems"]) == len(of_the_machine), summary["problems"]  # busy neighbours are no bug of ours
    assert summary["valid"] is (not of_the_machine)


def test_the_load_was_awake_when_its_first_chats_were_due(folder: Path) -> None:
    """A hiccup makes some of the first chats late, a load that still imports Locust makes all of them late."""
    first = min(chats_of(folder), key=lambda row: row["client"]["intended_ns"] or sys.maxsize)
    rows = sorted(
        (row for row in chats_of(folder) if row["strategy"] == first["strategy"]), key=lambda row: row["index"]
    )
    late_ms = [(row["client"]["sent_ns"] - row["client"]["intended_ns"]) / 1e6 for row in rows[:20]]
    assert min(late_ms) < health.MAX_SCHEDULE_MS, late_ms


def test_the_schedule_is_kept_and_was_kept(folder: Path) -> None:
    saved = {row["scenario"]: row["chats"] for row in schedule_of(folder)}
    assert set(saved) == {*SCENARIOS, "floor", "calibration"}
    for name in ("late", "double", "slow-reader", "wrong-worker"):
        rows = rows_of(folder, name)
        first = rows[0]["client"]["intended_ns"] - saved[name][0]["at_ms"] * 1e6
        for row, planned in zip(rows, saved[name], strict=True):
            assert row["client"]["intended_ns"] == pytest.approx(first + planned["at_ms"] * 1e6, abs=2)
            assert row["client"]["sent_ns"] >= row["client"]["intended_ns"]
            if planned["abort_after_ms"] is None:
                assert row["abort"] is None
            else:
                after_ms = (row["abort"]["intended_ns"] - row["client"]["intended_ns"]) / 1e6
                assert after_ms == pytest.approx(planned["abort_after_ms"], abs=0.001)


def test_a_late_stop_is_told_so_and_harms_nothing(folder: Path) -> None:
    rows = rows_of(folder, "late")
    assert {row["abort"]["status"] for row in rows} == {404}
    assert {row["witness"]["outcome"] for row in rows} == {"finished"}
    assert kinds(rows, "late") == {"late": len(rows)}


def test_the_second_press_is_told_that_it_was_the_second(folder: Path) -> None:
    rows = rows_of(folder, "double")
    for row in rows:
        again, first = row["abort"]["again"], row["abort"]
        assert again["sent_ns"] - first["intended_ns"] >= 5_000_000
        assert again["ack_ns"] > again["sent_ns"]
        # On two workers the second press may overtake the first: one of them is accepted, the other told so.
        assert {first["outcome"], again["outcome"]} in ({"accepted", "already_aborted"}, {"accepted", "unknown"})
        assert {first["status"], again["status"]} <= {200, 404}
        assert first["tries"] == 1
    assert kinds(rows, "double") == {"stopped": len(rows)}


def test_a_stop_that_races_its_chat_stops_it(folder: Path) -> None:
    rows = rows_of(folder, "race")
    fates = fates_of(rows, SCENARIOS["race"])
    assert kinds(rows, "race") == {"stopped": len(rows)}
    assert any(each.prevented for each in fates)
    for row in rows:  # remembered or accepted: this press was the one that worked
        assert row["abort"]["outcome"] in {"accepted", "remembered"}
        assert row["abort"]["accepted_sent_ns"] == row["abort"]["sent_ns"]
        assert row["client"]["finish_reason"] == "abort"


def test_a_storm_stops_all_at_once(folder: Path) -> None:
    rows = rows_of(folder, "storm")
    moments = [row["abort"]["intended_ns"] for row in rows]
    assert max(moments) - min(moments) < 20_000_000  # a closed loop: counted from when each chat really left
    assert max(row["client"]["token_ns"][0] for row in rows) < min(moments)
    assert kinds(rows, "storm") == {"stopped": len(rows)}


def test_a_client_that_hangs_up_is_noticed_under_any_strategy(folder: Path) -> None:
    rows = rows_of(folder, "disconnect")
    left = [row for row in rows if row["abort"]]
    assert kinds(rows, "disconnect") == {"stopped": len(left), "plain": len(rows) - len(left)}
    for row in left:
        assert row["abort"]["sent_ns"] == row["client"]["end_ns"] < row["witness"]["lost_ns"]
        assert row["abort"]["status"] is None
        assert row["service"]["abort_pid"] is None


def test_a_slow_reader_falls_behind_the_witness_and_is_stopped(folder: Path) -> None:
    rows = rows_of(folder, "slow-reader")
    assert kinds(rows, "slow-reader") == {"stopped": len(rows)}
    behind = [
        sum(token_ns < row["abort"]["sent_ns"] for token_ns in row["witness"]["token_ns"])
        - sum(token_ns < row["abort"]["sent_ns"] for token_ns in row["client"]["token_ns"])
        for row in rows
    ]
    assert max(behind) > 20


def test_stops_on_the_chat_s_own_worker_are_not_counted(folder: Path, summary: dict[str, Any]) -> None:
    rows = rows_of(folder, "wrong-worker")
    stopped = [row for row in rows if row["abort"]]
    own = sum(row["service"]["pid"] == row["service"]["abort_pid"] for row in stopped)
    assert len({row["service"]["pid"] for row in rows}) > 2
    found = kinds(rows, "wrong-worker")
    assert (found["same_worker"], found["stopped"]) == (own, len(stopped) - own)
    (case,) = [case for case in summary["cases"] if case["scenario"] == "wrong-worker"]
    assert (case["workers"], case["own"], case["aborts"]) == (4, own, len(stopped) - own)


def test_in_an_outage_stops_are_pressed_again_and_no_accepted_one_is_lost(folder: Path) -> None:
    rows, scenario = rows_of(folder, "outage"), SCENARIOS["outage"]
    (line,) = [case for case in cases_of(folder) if case["scenario"] == "outage"]
    fault = line["fault"]
    assert fault["kind"] == "store-crash"
    assert line["started_ns"] < fault["down_ns"] < fault["up_ns"] < line["ended_ns"]
    assert (fault["up_ns"] - fault["down_ns"]) / 1e6 >= scenario.fault_for_ms
    assert line["store_ops"] is line["store_cpu_s"] is None  # the server that came back has counted from zero
    again = [row["abort"] for row in rows if row["abort"] and row["abort"]["tries"] > 1]
    assert again
    for abort in again:
        assert abort["ack_ns"] - abort["sent_ns"] > 200_000_000
        if abort["accepted_sent_ns"] is not None:
            assert abort["accepted_sent_ns"] >= abort["sent_ns"] + 200_000_000
    assert any(abort["accepted_sent_ns"] is not None for abort in again)
    found = kinds(rows, "outage")
    assert found["missed"] == found["error"] == 0
    assert found["stopped"] > 0
