"""The committed baseline: multiples of the run's own floor, and refusals that name what differs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.gate import GateError, baseline
from bench.gate.baseline import check, choose_margins, load, margins_of, values_of
from bench.gate.family import COSTS
from bench.gate.margins import DEFAULTS, Margins
from bench.gate.verdict import Margin
from bench.record.base import encode_file
from bench.record.verdict import Baseline
from tests.bench.fake_gate import CPU_US, OPS_PER_CHAT, PUSH, STEADY_PUSH, write_run

STOPS = {"redis-push": 2.0, "redis-timer": 52.0}
LOCAL = Margins(DEFAULTS, measured=False, source="default margins")


@pytest.fixture
def record(tmp_path: Path) -> Baseline:
    return baseline.make(load(write_run(tmp_path / "base", stop_ms=STOPS)), LOCAL)


def verdicts(record: Baseline, folder: Path) -> dict[tuple[str, str], str]:
    found = check(record, load(folder), LOCAL).findings
    return {(each.case.strategy, each.metric): each.decision.verdict for each in found}


def test_times_are_multiples_of_the_floor_and_counts_are_not(tmp_path: Path) -> None:
    ratios = baseline.ratios(load(write_run(tmp_path / "run", stop_ms=STOPS, floor_ms=0.5)))
    assert ratios[PUSH, "upstream_stop_ms"][0] == pytest.approx(2.0 / 0.5, rel=0.05)
    assert ratios[PUSH, "ttft_ms"][0] == pytest.approx(3.0 / 0.5)  # 103 ms less the upstream's planned 100
    assert ratios[STEADY_PUSH, "server_cpu_us_per_token"][0] == pytest.approx(CPU_US / 500, rel=0.02)
    assert ratios[STEADY_PUSH, "store_ops_per_chat"][0] == OPS_PER_CHAT
    assert not {"itl_ms", "chats_per_s"} & {metric for _case, metric in ratios}


def test_a_slack_in_milliseconds_becomes_floors() -> None:
    found = baseline.relative_margins(DEFAULTS, floor_ms=0.25)
    assert found["upstream_stop_ms"] == Margin(DEFAULTS["upstream_stop_ms"].share, 0.5 / 0.25)
    assert found["server_cpu_us_per_token"].slack == pytest.approx(2.0 / 250)
    assert found["store_ops_per_token"] == DEFAULTS["store_ops_per_token"]
    assert "chats_per_s" not in found


def test_the_file_comes_back_as_it_was_kept(tmp_path: Path, record: Baseline) -> None:
    (tmp_path / "baseline.json").write_bytes(encode_file(record))
    kept = baseline.read(tmp_path / "baseline.json")
    assert kept == record
    assert (kept.floor_p50_ms, kept.workers, kept.strategies) == (0.5, 2, ["redis-push", "redis-timer"])
    assert (kept.run, kept.scenarios["flowing"].itl_ms) == ("base", 20.0)
    assert len(values_of(kept)[PUSH, "upstream_stop_ms"]) == 6
    assert margins_of(kept) == LOCAL


def test_a_machine_half_as_fast_is_equivalent(tmp_path: Path, record: Baseline) -> None:
    """Everything takes twice as long there, the floor too."""
    twice = {name: 2 * stop for name, stop in STOPS.items()}
    folder = write_run(tmp_path / "slow", stop_ms=twice, floor_ms=1.0, seed=2)
    assert verdicts(record, folder)["redis-push", "upstream_stop_ms"] == "equivalent"


def test_more_floors_than_before_is_worse(tmp_path: Path, record: Baseline) -> None:
    outcome = check(record, load(write_run(tmp_path / "head", stop_ms=STOPS | {"redis-push": 7.0})), LOCAL)
    assert (outcome.verdict, outcome.exit_code) == ("worse", 1)
    (found,) = [each for each in outcome.findings if each.decision.verdict == "worse" and "upstream" in each.metric]
    assert (found.case.strategy, outcome.unit(found.metric)) == ("redis-push", "x floor")
    assert found.decision.head == pytest.approx(14.0, rel=0.05)


def test_the_same_again_is_equivalent_and_a_lost_abort_is_worse(tmp_path: Path, record: Baseline) -> None:
    folder = write_run(tmp_path / "again", stop_ms=STOPS, seed=3)
    outcome = check(record, load(folder), LOCAL)
    assert (outcome.verdict, outcome.lost.aborts) == ("equivalent", 2 * 6 * 8)
    outcome = check(record, load(write_run(tmp_path / "lossy", stop_ms=STOPS, lose=("redis-push",))), LOCAL)
    assert (outcome.verdict, [each.rule for each in outcome.broken]) == ("worse", ["missed"])


def test_a_lost_abort_of_an_unhealthy_block_is_unproven(tmp_path: Path, record: Baseline) -> None:
    folder = write_run(tmp_path / "unhealthy", stop_ms=STOPS, lose=("redis-push",), unhealthy=(0,), seed=3)
    outcome = check(record, load(folder), LOCAL)
    assert (outcome.verdict, [each.rule for each in outcome.unproven_rules]) == ("inconclusive", ["missed"])


def test_costs_are_judged_only_where_nobody_stops(tmp_path: Path) -> None:
    """As in `regress`; and PostgreSQL's operations, counted in one block only, do not keep a verdict away."""
    kept = baseline.make(load(write_run(tmp_path / "base", stop_ms=STOPS)), LOCAL)
    judged = {(case.scenario, metric) for case in kept.cases for metric in case.ratios if "_per_" in metric}
    assert judged == {("steady", metric) for metric in COSTS}
    old = copy.deepcopy(kept)  # from before that rule
    old.scenarios["steady"].abort_share = 0.9
    assert not any(metric in COSTS for _case, metric in values_of(old))
    calm = baseline.make(load(write_run(tmp_path / "calm", stop_ms=STOPS, ops_in=(0,))), LOCAL)
    outcome = check(calm, load(write_run(tmp_path / "again", stop_ms=STOPS, ops_in=(0,), seed=2)), LOCAL)
    assert outcome.verdict == "equivalent"
    once = [note for note in outcome.notes if "counted in one block only" in note]
    assert [("per_token" in note, "per_chat" in note) for note in once].count((True, False)) == len(STOPS)
    assert len(once) == 2 * len(STOPS)


def test_a_baseline_from_before_a_metric_does_not_keep_a_verdict_away(tmp_path: Path, record: Baseline) -> None:
    for case in record.cases:
        case.ratios.pop("store_ops_per_chat", None)
    outcome = check(record, load(write_run(tmp_path / "run", stop_ms=STOPS, seed=2)), LOCAL)
    assert outcome.verdict == "equivalent"
    assert any("the baseline has no store_ops_per_chat" in note for note in outcome.notes)


def test_another_machine_is_noted_not_refused(tmp_path: Path, record: Baseline) -> None:
    same, other = (
        write_run(tmp_path / name, stop_ms=STOPS, manifest=manifest)
        for name, manifest in (("same", {}), ("other", {"host": {"cpus": 2}}))
    )
    assert check(record, load(same), LOCAL).notes == []
    assert "another machine" in check(record, load(other), LOCAL).notes[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scenario": {"itl_ms": 5.0}}, "scenario flowing: itl_ms is 20 there and 5.0 here"),
        ({"scenario": {"rate_per_s": 10}}, "scenario flowing: rate_per_s is 80 there and 10 here"),
        ({"manifest": {"scenarios": {}}}, "scenarios: this run lacks flowing, steady"),
        ({"manifest": {"settings": {"workers": 4}}}, "workers is 2 there and 4 here"),
        ({"stop_ms": {"redis-push": 2.0, "redis-poll": 9.0}},
         "strategies: this run lacks redis-timer and this run adds redis-poll"),
    ],
)  # fmt: skip
def test_what_was_measured_otherwise_is_refused_by_name(
    tmp_path: Path, record: Baseline, change: dict[str, Any], words: str
) -> None:
    folder = write_run(tmp_path / "other", **({"stop_ms": STOPS} | change))
    with pytest.raises(GateError, match=words) as refused:
        check(record, load(folder), LOCAL)
    assert refused.value.code == 4


def test_another_record_is_refused(tmp_path: Path, record: Baseline) -> None:
    run = load(write_run(tmp_path / "run", stop_ms=STOPS))
    with pytest.raises(GateError, match="record_schema is 0 there and 1 here"):
        check(msgspec.structs.replace(record, record_schema=0), run, LOCAL)


def test_a_sentence_may_change(tmp_path: Path, record: Baseline) -> None:
    folder = write_run(tmp_path / "run", stop_ms=STOPS, scenario={"sentence": "The same in other words."})
    assert check(record, load(folder), LOCAL).verdict == "equivalent"


@pytest.mark.parametrize(
    ("change", "words", "code"),
    [
        ({"manifest": {"quick": True}}, "QUICK run, which yields no verdict", 4),
        ({"manifest": {"settings": {"quick": True, "workers": 2}}}, "QUICK run", 4),
        ({"summary": {"valid": False, "problems": ["the mock was late"]}}, "not valid.*: the mock was late", 2),
        ({"blocks": 4}, "too few blocks .4, a verdict needs 5", 4),
        ({"floor_ms": None}, "no floor", 4),
    ],
)
def test_what_is_no_ground_for_a_verdict(tmp_path: Path, change: dict[str, Any], words: str, code: int) -> None:
    folder = write_run(tmp_path / "run", **({"stop_ms": STOPS} | change))
    with pytest.raises(GateError, match=words) as refused:
        baseline.make(load(folder), LOCAL)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "does not exist: make a new one with `make baseline`"),
        ("{", "cannot be read .*make a new one"),
        ("[]", "cannot be read .*make a new one"),
        ('{"schema": 2}', "has schema 2, this program reads 1"),
        ('{"schema": 1, "run": "x"}', "cannot be read .Object missing required field"),
    ],
)
def test_a_baseline_that_cannot_be_used(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "baseline.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(GateError, match=words):
        baseline.read(path)


def test_measured_margins_before_defaults_and_the_noisier_machines() -> None:
    quiet = Margins({"ttft_ms": Margin(0.05, 1.0)}, measured=True, source="quiet")
    loud = Margins({"ttft_ms": Margin(0.30, 1.0)}, measured=True, source="loud")
    assert choose_margins(quiet, LOCAL) == quiet
    assert choose_margins(LOCAL, quiet) == quiet
    assert choose_margins(LOCAL, LOCAL) == LOCAL
    assert choose_margins(loud, quiet).of == choose_margins(quiet, loud).of == loud.of
