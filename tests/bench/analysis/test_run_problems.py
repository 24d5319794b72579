"""Every reason for which a run is invalid, and what is counted without making it so."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench import fake_results as fake
from tests.bench.analysis.summaries import Rows, rewritten, summarise


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


def test_a_block_that_is_lacking_is_named(tmp_path: Path) -> None:
    fake.write(tmp_path, strategies=["redis-push"], scenarios=["flowing"], chats=8, blocks=3)
    head = json.loads((tmp_path / "manifest.json").read_text()) | {"blocks": 4}
    (tmp_path / "manifest.json").write_text(json.dumps(head))
    assert summarise(tmp_path)["problems"] == ["redis-push in flowing: measured in 3 of 4 blocks"]
