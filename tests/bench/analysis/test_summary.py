"""The cases of a run, and every reason for which a run is invalid."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.analysis import summary as written
from bench.stats.percentiles import describe_blocks
from tests.bench import fake_results as fake

ONE_CLOCK: dict[str, Any] = {"clock_uncertainty": None, "blank": []}
"""What every metric and part has since load may come from many machines."""


def known_then(now: Any, before: Any) -> Any:
    """The value with the keys that an older one has."""
    if isinstance(before, dict) and isinstance(now, dict):
        return {name: known_then(now[name], each) for name, each in before.items()}
    return now


def summarise(folder: Path) -> dict[str, Any]:
    """The summary as the file has it."""
    written.summarise(folder)
    return dict(json.loads((folder / "summary.json").read_text()))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The summary of all strategies in all scenarios, 80 chats each."""
    return summarise(fake.write(tmp_path_factory.mktemp("full"), chats=80))


def case_of(summary: dict[str, Any], strategy: str, scenario: str = "flowing") -> dict[str, Any]:
    (case,) = [each for each in summary["cases"] if (each["strategy"], each["scenario"]) == (strategy, scenario)]
    return dict(case)


def test_every_case_asked_for_is_in_the_summary_with_the_fixed_keys(full: dict[str, Any]) -> None:
    assert list(full) == [
        "schema", "valid", "problems", "warnings", "floor", "calibration", "cases", "idle", "comparisons", "controls",
        "interval",
    ]  # fmt: skip
    assert (full["schema"], full["valid"], full["problems"], full["warnings"]) == (1, True, [], [])
    found = {(case["strategy"], case["scenario"]) for case in full["cases"]}
    assert found == {(strategy, scenario) for strategy in fake.STRATEGIES for scenario in fake.SCENARIOS}
    for case in full["cases"]:
        assert list(case) == ["strategy", "target", "store", "delivery", "scenario", "workers", "streams", "loop",
                              "blocks",
                              "chats", "aborts", "missed", "errors", "late", "prevented", "refused", "own",
                              "turned_away", "dropped", "dishonest", "wrong_stops", "tokens_after_stop", "leaked",
                              "metrics",
                              "health", "waterfall"]  # fmt: skip
        for metric in case["metrics"].values():
            assert list(metric) == ["n", "p50", "p95", "p99", "mean", "ci95", "ci95_of", "clock_uncertainty", "blank"]
    assert (case_of(full, "redis-push")["store"], case_of(full, "redis-push")["delivery"]) == ("redis", "push")
    assert case_of(full, "none")["store"] is case_of(full, "disconnect")["delivery"] is None


def test_the_known_truths_are_found_again(full: dict[str, Any]) -> None:
    push, poll = (case_of(full, name)["metrics"]["upstream_stop_ms"] for name in ("redis-push", "redis-poll"))
    assert 1.7 < push["p50"] < 2.4
    assert 5 < poll["p50"] < 15
    assert poll["p95"] <= fake.ITL_MS + 0.8
    stalled = case_of(full, "redis-poll", "stalled")["metrics"]["upstream_stop_ms"]
    assert stalled["p50"] > 1000
    assert case_of(full, "redis-poll")["metrics"]["wasted_tokens"]["mean"] == 1
    assert case_of(full, "redis-poll", "steady")["metrics"]["store_ops_per_token"]["p50"] == pytest.approx(1)
    assert case_of(full, "redis-poll", "steady")["metrics"]["server_cpu_us_per_token"]["p50"] == pytest.approx(
        140, rel=0.03
    )


def test_missed_is_a_count_and_never_a_latency(full: dict[str, Any]) -> None:
    half, control = case_of(full, "memory-push"), case_of(full, "none")
    assert 20 <= half["missed"] <= 60
    assert half["metrics"]["upstream_stop_ms"]["n"] == half["aborts"] - half["missed"]
    assert half["metrics"]["wasted_tokens"]["n"] == half["aborts"] == 80
    assert control["missed"] == control["aborts"] == 80
    assert control["metrics"]["upstream_stop_ms"] == describe_blocks([]) | ONE_CLOCK


def test_metrics_without_samples_are_left_out(full: dict[str, Any]) -> None:
    assert "upstream_stop_ms" not in case_of(full, "redis-push", "steady")["metrics"]
    assert "client_stop_ms" not in case_of(full, "disconnect")["metrics"]
    assert "store_ops_per_token" not in case_of(full, "memory-poll")["metrics"]


def test_blocks_of_one_case_are_one_case(tmp_path: Path) -> None:
    folder = fake.write(tmp_path, strategies=["redis-push"], scenarios=["flowing"], chats=10, blocks=3)
    (case,) = summarise(folder)["cases"]
    assert (case["chats"], case["blocks"], case["metrics"]["tokens_per_s"]["n"]) == (30, 3, 3)
    assert case["metrics"]["upstream_stop_ms"]["n"] == 30


def test_summary_json_is_the_summary_whole_and_the_same_each_time(tmp_path: Path) -> None:
    folder = fake.write(tmp_path, chats=8)
    summary = summarise(folder)
    first = (folder / "summary.json").read_bytes()
    assert json.loads(first) == summary
    assert summarise(folder) == summary
    assert (folder / "summary.json").read_bytes() == first
    assert not list(folder.glob(".*"))


Rows = list[dict[str, Any]]


def _spoil_control(rows: Rows, _cases: Rows) -> None:
    rows[-1]["witness"] |= {"outcome": "cut", "done_ns": None, "lost_ns": rows[-1]["abort"]["sent_ns"] + 1}


def _late_witness(_rows: Rows, cases: Rows) -> None:
    cases[0]["witness_late_p99_ms"] = 5.1


def _lose_row(rows: Rows, _cases: Rows) -> None:
    rows.pop(0)


def _repeat_id(rows: Rows, _cases: Rows) -> None:
    rows[0]["request_id"] = rows[1]["request_id"]


def _drop_case(_rows: Rows, cases: Rows) -> None:
    cases.pop()


def _fail(rows: Rows, _cases: Rows) -> None:
    for row in rows[:2]:
        row["client"]["status"] = 502


def _drop_chats(_rows: Rows, cases: Rows) -> None:
    cases[0]["dropped"], cases[0]["chats_planned"] = 2, 102


def _refuse(rows: Rows, _cases: Rows) -> None:
    rows[0]["service"]["finish_reason"] = "refused_503"
    rows[1]["abort"] |= {"status": 503, "accepted_sent_ns": None}
    rows[1]["witness"] |= {"outcome": "finished", "done_ns": rows[1]["witness"]["lost_ns"], "lost_ns": None}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_spoil_control, "none in flowing: the control stopped 1 chats"),
        (_late_witness, "redis-push in flowing: the mock upstream could not keep its pace (p99 5.1 ms late"),
        (_lose_row, "redis-push in flowing: 1 of 100 planned chats left no row"),
        (_repeat_id, "1 request ids occur in more than one chat"),
        (_drop_case, "none in flowing: 100 chats belong to a case that was not finished"),
        (_drop_chats, "redis-push in flowing: the load could not send 2 of 102 chats"),
        (
            _refuse,
            "redis-push in flowing: 2 chats or aborts of 100 were refused with 503 although no outage",
        ),
        (_fail, "redis-push in flowing: 2 of 100 chats failed (2.0%, limit 1%); most often: HTTP 502 (2)"),
    ],
)
def test_what_makes_a_run_invalid(tmp_path: Path, spoil: Callable[[Rows, Rows], None], words: str) -> None:
    folder = fake.write(tmp_path, strategies=["redis-push", "none"], scenarios=["flowing"], chats=100)
    with gzip.open(folder / "chats.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    cases = [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]
    assert summarise(folder)["valid"]
    spoil(rows, cases)
    fake.write_raw(folder, fake.manifest(scenarios=["flowing"]), rows, cases)
    summary = summarise(folder)
    assert not summary["valid"]
    assert any(words in problem for problem in summary["problems"]), summary["problems"]


def test_one_error_in_a_hundred_is_counted_and_allowed(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [fake.chat("redis-push", "flowing", index, rng) for index in range(100)]
    rows[0]["client"]["status"] = 502
    cases = [fake.case("redis-push", "flowing", rows, rng)]
    fake.write_raw(tmp_path, fake.manifest(scenarios=["flowing"]), rows, cases)
    summary = summarise(tmp_path)
    assert summary["valid"]
    assert (summary["cases"][0]["errors"], summary["cases"][0]["aborts"]) == (1, 99)


def test_a_hole_in_the_grid_is_named(tmp_path: Path) -> None:
    rng = random.Random(1)
    cases = [
        fake.case("none", "steady", [], rng),
        fake.case("redis-push", "flowing", [], rng),
        fake.case("none", "flowing", [], rng),
    ]
    asked = [[strategy, scenario, 2] for scenario in ("flowing", "steady") for strategy in ("none", "redis-push")]
    head = fake.manifest(scenarios=["flowing", "steady"]) | {"cases": [*asked, ["memory-push", "flowing", 1]]}
    fake.write_raw(tmp_path, head, [], cases)
    assert summarise(tmp_path)["problems"] == [
        "steady: not measured for redis-push", "flowing: not measured for memory-push"
    ]  # fmt: skip


def test_a_control_that_is_asked_for_in_one_scenario_only_is_no_hole(tmp_path: Path) -> None:
    rng = random.Random(1)
    asked = [("memory-push", "flowing", 1), ("redis-push", "flowing", 2), ("redis-push", "steady", 2)]
    cases = [fake.case(strategy, name, [], rng) | {"workers": workers} for strategy, name, workers in asked]
    head = fake.manifest(scenarios=["flowing", "steady"]) | {"cases": [list(each) for each in asked]}
    fake.write_raw(tmp_path, head, [], cases)
    assert summarise(tmp_path)["problems"] == []


def rewritten(folder: Path, spoil: Callable[[Rows, Rows], None]) -> dict[str, Any]:
    """Write a run of redis-push, change its rows, summarise it."""
    rng = random.Random(1)
    rows = [fake.chat("redis-push", "flowing", index, rng) for index in range(100)]
    cases = [fake.case("redis-push", "flowing", rows, rng)]
    spoil(rows, cases)
    fake.write_raw(folder, fake.manifest(scenarios=["flowing"]), rows, cases)
    return summarise(folder)


def test_what_an_outage_refuses_is_counted_and_no_reason_to_doubt_the_run(tmp_path: Path) -> None:
    def outage(rows: Rows, cases: Rows) -> None:
        _refuse(rows, cases)
        cases[0]["fault"] = {"kind": "restart", "down_ns": 1, "up_ns": 2}

    summary = rewritten(tmp_path, outage)
    case = summary["cases"][0]
    assert summary["valid"], summary["problems"]
    assert (case["refused"], case["turned_away"], case["errors"], case["missed"], case["aborts"]) == (1, 1, 0, 0, 98)


def test_a_chat_that_was_dropped_is_not_one_that_left_no_row(tmp_path: Path) -> None:
    def drop(_rows: Rows, cases: Rows) -> None:
        cases[0] |= {"dropped": 1, "chats_planned": 101}

    summary = rewritten(tmp_path, drop)
    assert (summary["valid"], summary["cases"][0]["dropped"]) == (True, 1)


def test_broken_promises_are_counted_and_told_on_top(tmp_path: Path) -> None:
    def break_all(rows: Rows, _cases: Rows) -> None:
        rows[0]["abort"] = None
        rows[1]["client"]["tokens_after_finish"] = 3
        rows[2]["witness"] |= {"outcome": "open", "lost_ns": None}

    summary = rewritten(tmp_path, break_all)
    case = summary["cases"][0]
    assert (case["wrong_stops"], case["tokens_after_stop"], case["leaked"]) == (1, 3, 1)
    assert summary["warnings"] == [
        "redis-push in flowing: 1 chats were stopped without an abort",
        "redis-push in flowing: 3 tokens were received by clients after the stop had been reported to them",
        "redis-push in flowing: 1 upstream connections were never closed",
    ]


def test_a_stop_before_the_upstream_was_asked_counts_as_an_abort_without_latency(tmp_path: Path) -> None:
    def prevent(rows: Rows, _cases: Rows) -> None:
        rows[0] |= {"witness": None}
        rows[0]["client"]["token_ns"] = []

    case = rewritten(tmp_path, prevent)["cases"][0]
    assert (case["prevented"], case["aborts"], case["missed"]) == (1, 100, 0)
    assert case["metrics"]["upstream_stop_ms"]["n"] == 99
    assert case["metrics"]["wasted_tokens"]["n"] == 100


def test_a_block_that_is_lacking_is_named(tmp_path: Path) -> None:
    fake.write(tmp_path, strategies=["redis-push"], scenarios=["flowing"], chats=8, blocks=3)
    head = json.loads((tmp_path / "manifest.json").read_text()) | {"blocks": 4}
    (tmp_path / "manifest.json").write_text(json.dumps(head))
    assert summarise(tmp_path)["problems"] == ["redis-push in flowing: measured in 3 of 4 blocks"]


def test_a_record_without_the_newer_fields_is_summarised_as_before(tmp_path: Path) -> None:
    """One block, no presses, no intended times, no service: as the first version wrote it."""

    def age(rows: Rows, cases: Rows) -> None:
        for row in rows:
            row["service"] = None
            del row["client"]["intended_ns"]
            for name in ("intended_ns", "accepted_sent_ns", "tries", "again"):
                del row["abort"][name]
        for name in ("dropped", "rate_per_s", "fault"):
            del cases[0][name]

    now, old = rewritten(tmp_path / "now", lambda _rows, _cases: None), rewritten(tmp_path / "old", age)
    (case,), (before,) = now["cases"], old["cases"]
    assert old["valid"]
    assert "upstream_stop_intended_ms" in case["metrics"]
    del case["metrics"]["upstream_stop_intended_ms"]
    last = before["waterfall"].pop("witness_to_client")  # the one part that needs no stamp of the service
    assert set(before["waterfall"].values()) == {None}
    assert last == case["waterfall"].pop("witness_to_client")
    del case["waterfall"], before["waterfall"]
    assert before == case


def test_the_reference_run_gives_its_numbers_again() -> None:
    folder = Path(__file__).parents[3] / "results" / "reference" / "one-block"
    kept = json.loads((folder / "summary.json").read_text())
    with tempfile.TemporaryDirectory() as copy:
        for name in ("manifest.json", "cases.jsonl", "chats.jsonl.gz"):
            shutil.copy(folder / name, copy)
        summary = summarise(Path(copy))
    assert summary["valid"]
    for before, now in zip(kept["cases"], summary["cases"], strict=True):
        for name, metric in before["metrics"].items():
            if "ci95_of" not in metric:  # from before the intervals respected blocks: the points stay
                now["metrics"][name] |= {"ci95": metric["ci95"]}
                del now["metrics"][name]["ci95_of"]
        assert len(now["health"]["problems"]) == len(before["health"]["problems"])
        now["health"]["problems"] = before["health"]["problems"]  # their wording is no number
        assert known_then(now, before) == before
