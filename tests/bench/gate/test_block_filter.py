"""A busy machine: its blocks are excluded, and it never makes a head worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.analysis.reading import read_run
from bench.gate.block_filter import unhealthy_blocks, usable_count
from bench.gate.family import decide_all, gate_values, single_block_notes
from bench.gate.margins import DEFAULTS
from bench.gate.pairing import MeasuredSide
from bench.gate.rules import apply_rules
from bench.record.manifest import Manifest
from bench.record.schema import CaseRow, ChatRow
from tests.bench.fake_gate import FLOWING, PUSH, case_row, chat_row
from tests.bench.gate.compared import BLOCKS, CHATS, Compared


@pytest.fixture
def gate(tmp_path: Path) -> Compared:
    return Compared(tmp_path)


def test_a_lost_abort_counts_where_both_sides_were_healthy(gate: Compared) -> None:
    gate.side("base", unhealthy=[0])
    gate.side("head", lost_in=[1])
    outcome = gate.judge()
    assert (outcome.verdict, [each.rule for each in outcome.broken]) == ("worse", ["missed"])
    assert (outcome.lost.lost, outcome.lost.aborts) == (1, 5 * CHATS)  # block 0 is excluded on both sides


@pytest.mark.parametrize("unhealthy_side", ["base", "head"])
def test_one_in_an_unhealthy_block_of_either_side_is_unproven(gate: Compared, unhealthy_side: str) -> None:
    for name in ("base", "head"):
        gate.side(name, unhealthy=[0] if name == unhealthy_side else [], lost_in=[0] if name == "head" else [])
    outcome = gate.judge()
    assert (outcome.verdict, outcome.exit_code, outcome.broken) == ("inconclusive", 3, [])
    assert [each.rule for each in outcome.unproven_rules] == ["missed"]
    assert "; unproven: redis-push in flowing, 2 workers: 1 aborts" in outcome.sentence


def test_a_leak_is_absolute(gate: Compared) -> None:
    gate.side("base", unhealthy=range(3))
    gate.side("head", unhealthy=range(BLOCKS), leaked_in=[3])
    outcome = gate.judge()
    assert (outcome.verdict, [each.rule for each in outcome.broken]) == ("worse", ["leaked"])


def test_slow_stops_in_unhealthy_blocks_do_not_count(gate: Compared) -> None:
    """Half of the blocks under load, and the load met head more often."""
    gate.side("base", stop_ms=[2.0] * 12, unhealthy=[1])
    gate.side("head", stop_ms=[2.0, 9.0] * 6, unhealthy=range(1, 12, 2))
    outcome = gate.judge()
    assert outcome.verdict == "equivalent"
    assert outcome.blocks == 6
    assert any("excluded" in note and "1 of base's and 6 of head's" in note for note in outcome.notes)
    gate.side("head", stop_ms=[9.0] * 12, unhealthy=range(1, 12, 2))
    assert gate.judge().verdict == "worse"


def test_an_abort_that_a_stalled_worker_missed_is_unproven(gate: Compared) -> None:
    gate.side("base", stalled_in=[0])
    gate.side("head", lost_in=[0])
    outcome = gate.judge()
    assert (outcome.verdict, len(outcome.unproven_rules), outcome.lost.aborts) == ("inconclusive", 1, 5 * CHATS)
    gate.side("base")
    gate.side("head", lost_in=[0], stalled_in=[0])
    assert gate.judge().verdict == "inconclusive"
    gate.side("head", lost_in=[0, 3], stalled_in=[0])
    assert gate.judge().verdict == "worse"


def test_a_head_that_stalls_by_itself_is_found_by_its_times(gate: Compared) -> None:
    gate.side("base", stop_ms=[2.0] * BLOCKS)
    gate.side("head", stop_ms=[30.0] * BLOCKS, stalled_in=range(BLOCKS))
    assert gate.judge().verdict == "worse"


def test_failed_chats_of_an_unhealthy_block_do_not_invalidate_the_others(gate: Compared) -> None:
    gate.side("head")
    gate.side("base", failed_in=[0])
    assert gate.judge().verdict == "invalid"
    gate.side("base", failed_in=[0], unhealthy=[0])
    assert gate.judge().verdict == "equivalent"


def test_without_usable_blocks_there_is_no_verdict(gate: Compared) -> None:
    gate.side("base", unhealthy=range(2, BLOCKS))
    gate.side("head", stop_ms=[9.0] * BLOCKS)
    outcome = gate.judge()
    assert (outcome.verdict, outcome.exit_code) == ("invalid", 2)
    assert "2 of 6 blocks are usable, a verdict needs 5: the mock upstream could not keep its pace" in outcome.sentence
    gate.side("base", unhealthy=range(BLOCKS))
    assert gate.judge().verdict == "invalid"


def test_blocks_are_added_for_those_that_were_excluded(gate: Compared) -> None:
    gate.side("base")
    gate.side("head")
    assert not gate.could_change(BLOCKS, fit=20)
    gate.side("head", unhealthy=[0, 1])
    assert gate.could_change(BLOCKS, fit=20)
    assert not gate.could_change(BLOCKS, fit=7)  # five of seven is more than four of six promises
    gate.side("base", unhealthy=range(BLOCKS))
    gate.side("head", unhealthy=range(BLOCKS))
    assert not gate.could_change(BLOCKS, fit=20)  # never, at this rate
    assert gate.could_change(2, fit=20)


def test_blocks_are_added_while_it_is_open_whether_head_alone_is_unhealthy(gate: Compared) -> None:
    gate.side("base", stop_ms=[2.0] * 5, unhealthy=[0])
    gate.side("head", stop_ms=[2.0] * 5, unhealthy=range(5))
    assert gate.could_change(5, fit=10)  # 5 of 5 against 1 of 5 is p 0.024; 10 of 10 against 2 of 10 would be enough
    assert not gate.could_change(5, fit=5)
    gate.side("base", stop_ms=[2.0] * 5)
    assert not gate.could_change(5, fit=10)  # p 0.004: decided


def test_other_settings_of_the_services_are_no_ground_for_a_verdict(gate: Compared) -> None:
    gate.side("base", environment={"DRAIN_S": "1"})
    gate.side("head", environment={"DRAIN_S": "2"})
    outcome = gate.judge()
    assert outcome.verdict == "invalid"
    assert "DRAIN_S is 1 in A, 2 in B" in outcome.sentence


def test_which_code_ran_stands_in_the_verdict(gate: Compared) -> None:
    ran = {"module": "/scratch/base/server/__init__.py", "commit": "0123abcdef", "reported": False}
    gate.side("base", code=ran)
    gate.side("head", code=ran | {"module": "/scratch/head/server/__init__.py", "reported": True})
    outcome = gate.judge()
    assert outcome.head.module == "/scratch/head/server/__init__.py"
    assert outcome.base.reported is False
    assert outcome.notes[:2] == [
        "base ran /scratch/base/server/__init__.py of 0123abc (not reported by its /healthz: the path that its Python"
        " imports)",
        "head ran /scratch/head/server/__init__.py of 0123abc",
    ]


def test_a_lost_abort_ends_the_measurement_and_an_unproven_one_does_not(gate: Compared) -> None:
    gate.side("base")
    gate.side("head", lost_in=[0])
    assert not gate.could_change(1, fit=20)
    gate.side("head", lost_in=[0], unhealthy=[0])
    assert gate.could_change(BLOCKS, fit=20)


def test_another_lock_is_a_doubt(gate: Compared) -> None:
    gate.side("base")
    gate.side("head")
    assert gate.judge().verdict == "equivalent"
    outcome = gate.judge(["requirements.lock differs"])
    assert (outcome.verdict, outcome.sentence.endswith("; requirements.lock differs)")) == (
        "inconclusive",
        True,
    )
    gate.side("head", stop_ms=[9.0] * BLOCKS)
    assert gate.judge(["requirements.lock differs"]).verdict == "worse"


def test_excluded_blocks_have_no_values_and_no_counts(gate: Compared) -> None:
    gate.side("head", unhealthy=[2], lost_in=[2, 3])
    run = read_run(gate.folder)
    excluded = unhealthy_blocks(run)
    assert list(excluded) == [(PUSH, 2)]
    assert usable_count(run, excluded) == {PUSH: 5}
    assert 2 not in gate_values(run, excluded)[PUSH, "upstream_stop_ms"]
    rules = apply_rules(None, run, excluded)
    assert ([each.head for each in rules.broken], rules.unproven) == ([1], [])


def values(**metrics: dict[int, float]) -> dict[tuple[Any, str], dict[int, float]]:
    return {(PUSH, metric): blocks for metric, blocks in metrics.items()}


def test_a_metric_of_a_single_block_neither_prevents_a_verdict_nor_passes_unseen() -> None:
    """PostgreSQL's operations are counted in the first block only."""
    ttft = dict.fromkeys(range(5), 100.0)
    base = values(ttft_ms=ttft, store_ops_per_token={0: 0.03})
    same, more = (values(ttft_ms=ttft, store_ops_per_token={0: ops}) for ops in (0.035, 1.03))
    assert [each.metric for each in decide_all(base, same, DEFAULTS)] == ["ttft_ms"]
    (note,) = single_block_notes(base, same, DEFAULTS)
    assert "store_ops_per_token is counted in one block only (0.03 -> 0.035" in note
    found = {each.metric: each.decision.verdict for each in decide_all(base, more, DEFAULTS)}
    assert found == {"ttft_ms": "equivalent", "store_ops_per_token": "inconclusive"}
    assert single_block_notes(base, more, DEFAULTS) == []
    gone = decide_all(base, values(ttft_ms=ttft), DEFAULTS)
    assert [each.decision.verdict for each in gone] == ["equivalent", "inconclusive"]
    first = values(ttft_ms={0: 1.0}, store_ops_per_token={0: 0.03})
    assert len(decide_all(first, first, DEFAULTS)) == 2  # after one block everything has one value


def test_the_rows_in_memory_are_those_of_the_files(tmp_path: Path) -> None:
    """The gate reads no file again after a block."""
    manifest = {"scenarios": {"flowing": FLOWING}, "blocks": 2, "complete": True}
    side = MeasuredSide(tmp_path, "head")
    side.write_manifest(msgspec.convert(manifest, Manifest))
    for block in range(2):
        chats = [chat_row("redis-push", block, index, 2.0) for index in range(3)]
        case = msgspec.convert(case_row("redis-push", block, chats), CaseRow)
        side.append(iter(msgspec.convert(chats, list[ChatRow])), case)
    assert side.run == read_run(side.folder)
    assert len(side.chats) == 6
