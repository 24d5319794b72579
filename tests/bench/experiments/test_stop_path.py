"""The stop path beside a hang-up: a small real measurement, and the verdicts on made-up records."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from rich.console import Console

from bench.analysis import health
from bench.experiments import stop_path
from bench.experiments.stop_path import WORKERS, case_of, lasts_s, measure_stops, scenarios
from bench.experiments.stop_path_goals import broken, counts_of, goals_of, problems_of, tables, verdict_of
from bench.run.instrument import FLOOR_CASE
from bench.run.rig import Kept
from bench.workload.strategies import DISCONNECT
from tests.bench.command import Bench
from tests.bench.small_runs import Row, cases_of, chats_of, manifest_of

NAMES = [each.name for each in scenarios()]
STOPS_MS = {DISCONNECT: 1.0, "memory-push": 1.2, "redis-push": 1.6, "postgres-push": 1.7}


def a_round(number: int, scenario: str, **changes: Any) -> Row:
    stops_ms = {
        name: [ms * (1 + 0.01 * number + 0.0001 * place) for place in range(80)] for name, ms in STOPS_MS.items()
    }
    found: Row = {"scenario": scenario, "round": number, "order": list(WORKERS), "ill": [], "stops_ms": stops_ms}
    found |= {"counts": {name: {"stopped": 80} for name in WORKERS}, "failed": {name: [] for name in WORKERS}}
    return found | changes


def a_record(*, rounds: int = 5, **changes: Any) -> Row:
    record: Row = {"quick": False, "pairs": rounds, "workers": WORKERS, "scenarios": {name: {} for name in NAMES}}
    record |= {"rounds": [a_round(number, name) for number in range(rounds) for name in NAMES]}
    record |= {"set_aside": [], "floor_ms": [[0.5] * 40] * rounds} | changes
    return record | {"aims": goals_of(record), "problems": problems_of(record)}


def goal(record: Row, strategy: str, percentile: str) -> Row:
    (row, *_) = [row for row in record["aims"] if (row["strategy"], row["percentile"]) == (strategy, percentile)]
    return dict(row)


def code_of(record: Row) -> int:
    return {"": 0, "missed": 1, "invalid": 2, "undecided": 3}[verdict_of(record)[0]]


def test_every_goal_is_judged_in_every_scenario() -> None:
    record = a_record()
    aims = {(row["strategy"], row["percentile"]): row["at_most"] for row in record["aims"]}
    assert aims == {
        ("memory-push", "p50"): 1.5, ("redis-push", "p50"): 1.9, ("redis-push", "p99"): 3.0,
        ("postgres-push", "p50"): 1.9, ("postgres-push", "p99"): 3.0,
    }  # fmt: skip
    assert {row["scenario"] for row in record["aims"]} == set(NAMES)
    assert {row["verdict"] for row in record["aims"]} == {"met"}
    assert goal(record, "redis-push", "p50")["ratio"] == pytest.approx(1.6)
    assert goal(record, "postgres-push", "p99")["ratio"] == pytest.approx(1.7, rel=0.01)
    assert (goal(record, "redis-push", "p99")["n"], goal(record, "redis-push", "p99")["base_n"]) == (400, 400)
    assert code_of(record) == 0


def test_ratios_are_of_rounds_so_a_slow_round_is_slow_for_both() -> None:
    record = a_record()
    for each in record["rounds"][:3]:
        each["stops_ms"] = {name: [ms * 7 for ms in stops] for name, stops in each["stops_ms"].items()}
    row = next(row for row in goals_of(record) if row["strategy"] == "redis-push")
    assert (row["min"], row["max"]) == (pytest.approx(1.6), pytest.approx(1.6))


@pytest.mark.parametrize(
    ("times", "verdict", "code"), [([2.5] * 5, "missed", 1), ([1, 1.6, 1, 1.6, 1], "undecided", 3)]
)
def test_only_what_is_beyond_doubt_is_missed(times: list[float], verdict: str, code: int) -> None:
    record = a_record()
    for each in record["rounds"]:
        each["stops_ms"]["redis-push"] = [ms * times[each["round"]] for ms in each["stops_ms"]["redis-push"]]
    record["aims"] = goals_of(record)
    assert goal(record, "redis-push", "p50")["verdict"] == verdict
    assert code_of(record) == code
    assert code_of(record | {"quick": True}) == (0 if verdict == "undecided" else code)


def test_too_few_stops_have_no_p99_and_are_not_judged() -> None:
    record = a_record(rounds=2)
    assert goal(record, "redis-push", "p99")["verdict"] == "not judged"
    assert goal(record, "redis-push", "p99")["ours_ms"] is None
    assert code_of(record | {"quick": True}) == 0


def test_a_lost_abort_is_a_broken_promise_unless_the_round_does_not_count() -> None:
    lost = {name: {"stopped": 79, "missed": int(name == "redis-push")} for name in WORKERS}
    record = a_record()
    record["rounds"][0]["counts"] = lost
    assert broken(record) == ["redis-push: 1 aborts were lost"]
    assert code_of(record) == 1
    assert broken(a_record(set_aside=[a_round(5, NAMES[0], counts=lost, ill=["late"])])) == []
    leaked = {name: {"stopped": 79, "leaked": 1} for name in WORKERS}
    assert len(broken(a_record(set_aside=[a_round(5, NAMES[0], counts=leaked, ill=["late"])]))) == len(WORKERS)


def test_too_few_sound_rounds_and_failed_chats_make_it_invalid() -> None:
    record = a_record()
    record["set_aside"] = [record["rounds"].pop() | {"ill": ["redis-push: the load was late"]}]
    (problem,) = problems_of(record)
    assert "only 4 of 5" in problem
    assert "the load was late" in problem
    record = a_record()
    record["rounds"][0]["failed"]["redis-push"] = ["HTTP 500"] * 20
    record["problems"] = problems_of(record)
    assert "HTTP 500" in record["problems"][0]
    assert code_of(record) == 2


def test_the_tables_fit_into_eighty_columns_and_show_n_interval_and_verdict() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        for table in tables(a_record()):
            console.print(table)
    text = capture.get()
    assert "1.60 (1.60..1.60)" in text
    assert "[1.60..1.60]" in text
    assert sum(line.rstrip().endswith(" met") for line in text.splitlines()) == len(a_record()["aims"])
    assert "Floor, without a service: 0.50 ms" in text
    assert "…" not in text


def test_a_default_run_is_enough_for_a_p99_and_short_enough() -> None:
    for scenario in scenarios():
        on_the_other = stop_path.PAIRS * scenario.chats / 2
        assert on_the_other > 368 + 3 * (on_the_other / 2) ** 0.5
    assert lasts_s(stop_path.PAIRS, quick=False) < 340


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row, list[str]]:
    """Three services, one scenario, two rounds, and a healthy instrument."""
    small = [replace(scenarios(quick=True)[0], chats=24)]
    logged: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stop_path, "WORKERS", {name: WORKERS[name] for name in (DISCONNECT, "memory-push", "redis-push")})
        patch.setattr(stop_path, "scenarios", lambda **_quick: small)
        patch.setattr(stop_path, "FLOOR_CASE", replace(FLOOR_CASE, scenario=replace(FLOOR_CASE.scenario, chats=8)))
        patch.setattr(stop_path, "goals_of", lambda _record: [])  # of strategies that are not measured here
        patch.setattr(health, "problems", lambda _case: [])
        kept = Kept(tmp_path_factory.mktemp("stop-path"), "stop-path")
        record = measure_stops(kept, lambda _words: None, logged.append, pairs=2, quick=True, seed=1)
    return kept.folder, record, logged


def test_measured_for_real(measured: tuple[Path, Row, list[str]]) -> None:
    folder, record, logged = measured
    assert json.loads((folder.parent / stop_path.FILE).read_text()) == json.loads(msgspec.json.encode(record))
    assert manifest_of(folder)["complete"] is True
    assert record["problems"] == []
    assert len(logged) == len(record["rounds"]) == 2
    assert record["rounds"][0]["order"] != record["rounds"][1]["order"]
    for each in record["rounds"]:
        assert set(each["stops_ms"]) == {DISCONNECT, "memory-push", "redis-push"}
        assert all(0 < ms < 1000 for stops_ms in each["stops_ms"].values() for ms in stops_ms)
    services = {(row["strategy"], row["service"]["pid"]) for row in chats_of(folder) if row["service"]}
    assert len(services) <= sum(stop_path.WORKERS[name] for name in (DISCONNECT, "memory-push", "redis-push"))


def test_a_hang_up_goes_through_the_service_as_an_abort_does(measured: tuple[Path, Row, list[str]]) -> None:
    rows = [row for row in chats_of(measured[0]) if row["strategy"] == DISCONNECT]
    assert len(rows) == 48
    answered = [row for row in rows if row["client"]["status"] == 200]  # a slow machine answers after some hang-ups
    assert len(answered) > len(rows) / 2
    for row in answered:
        assert row["service"]["pid"] is not None  # the chat went through a service
        assert row["service"]["abort_pid"] is None  # and got no abort
        assert row["client"]["end_ns"] == row["abort"]["sent_ns"]  # the client left
        assert row["witness"]["outcome"] == "cut"


def test_only_stops_on_the_other_worker_count(measured: tuple[Path, Row, list[str]]) -> None:
    folder, record, _logged = measured
    rows = [row for row in chats_of(folder) if row["strategy"] == "redis-push"]
    other = [row for row in rows if row["service"]["pid"] != row["service"]["abort_pid"]]
    assert 0 < len(other) < len(rows)
    counts = counts_of(record["rounds"])["redis-push"]
    assert sum(len(each["stops_ms"]["redis-push"]) for each in record["rounds"]) == counts["stopped"]
    assert 0 < counts["own"] <= len(rows) - len(other)  # a slow machine has late ones, too
    assert 0 < counts["stopped"] <= len(other)
    assert {case["workers"] for case in cases_of(folder) if case["strategy"] == "memory-push"} == {1}
    assert case_of("memory-push", scenarios()[0]).scenario.count_only is None


def test_ctrl_c_ends_everything_it_started(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "bench", "stop-path", "--quick", "--results", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "2 rounds, about" in process.stdout.readline()
        while not (started := psutil.Process(process.pid).children(recursive=True)):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_bad_usage_is_one_line(bench: Bench, tmp_path: Path) -> None:
    done = bench("stop-path", "--pairs", "1", "--results", str(tmp_path))
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
