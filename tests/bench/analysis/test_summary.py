"""The cases of a run, and the numbers of older ones."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from bench.stats.percentiles import describe_blocks
from tests.bench import fake_results as fake
from tests.bench.analysis.summaries import Rows, rewritten, summarise

ONE_CLOCK: dict[str, Any] = {"clock_uncertainty": None, "blank": []}
"""What every metric and part has since load may come from many machines."""


def known_then(now: Any, before: Any) -> Any:
    """The value with the keys that an older one has."""
    if isinstance(before, dict) and isinstance(now, dict):
        return {name: known_then(now[name], each) for name, each in before.items()}
    return now


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


def test_a_stop_before_the_upstream_was_asked_counts_as_an_abort_without_latency(tmp_path: Path) -> None:
    def prevent(rows: Rows, _cases: Rows) -> None:
        rows[0] |= {"witness": None}
        rows[0]["client"]["token_ns"] = []

    case = rewritten(tmp_path, prevent)["cases"][0]
    assert (case["prevented"], case["aborts"], case["missed"]) == (1, 100, 0)
    assert case["metrics"]["upstream_stop_ms"]["n"] == 99
    assert case["metrics"]["wasted_tokens"]["n"] == 100


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
