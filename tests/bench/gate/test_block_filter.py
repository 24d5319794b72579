"""A busy machine: what its blocks seem to show is no evidence, and it never makes a head worse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.analysis.reading import read_run
from bench.gate.block_filter import left_of, unwell
from bench.gate.family import decide_all, told_once
from bench.gate.gate_run import block_values
from bench.gate.margins import DEFAULTS, Margins
from bench.gate.regress import Gate
from bench.gate.zero_tolerance import judge
from bench.record.writer import Results
from bench.run.campaign import Settings
from bench.workload.plan import select
from tests.bench.fake_gate import PUSH, case_row, chat_row, lost, write_rows

SETTINGS = Settings("all", 2, False, 1, "regress")
BLOCKS, CHATS = 6, 40


class Compared(Gate):
    """A gate whose two sides were measured already: `blocks` per side, `sick` those in which the mock was late."""

    def __init__(self, results: Path) -> None:
        cases = select(scenarios=["flowing"], strategies=["redis-push"])
        margins = Margins(DEFAULTS, measured=False, says="default margins")
        super().__init__(cases, SETTINGS, margins, results, Console(quiet=True))

    def side(
        self,
        name: str,
        *,
        stop_ms: Sequence[float] = (2.0,) * BLOCKS,
        sick: Sequence[int] = (),
        lost_in: Sequence[int] = (),
        leaked_in: Sequence[int] = (),
        stood_still_in: Sequence[int] = (),
        failed_in: Sequence[int] = (),
        **manifest: Any,
    ) -> None:
        kept: Results = self._kept[("base", "head").index(name)]
        chats, cases = [], []
        for block, stop in enumerate(stop_ms):
            own = [chat_row("redis-push", block, index, stop * (1 + 0.01 * (index % 3))) for index in range(CHATS)]
            own[0] = lost(own[0]) if block in lost_in else own[0]
            if block in leaked_in:
                own[1]["witness"] |= {"outcome": "open", "lost_ns": None}
            for chat in own[:20] if block in failed_in else ():
                chat["client"]["error"] = "connection reset"
            chats += own
            row = case_row("redis-push", block, own) | {"witness_late_p99_ms": 40.0 if block in sick else 0.4}
            service = {"name": "service", "lag_max_ms": 140.0 if block in stood_still_in else 20.0}
            cases.append(row | {"health": {"processes": [service], "chunks_per_s": 900.0}})
        write_rows(kept.folder, chats, cases, {"side": name, "blocks": len(stop_ms), **manifest})


@pytest.fixture
def gate(tmp_path: Path) -> Compared:
    return Compared(tmp_path)


def test_a_lost_abort_counts_where_both_sides_were_well(gate: Compared) -> None:
    gate.side("base", sick=[0])
    gate.side("head", lost_in=[1])
    outcome = gate._outcome([], [])
    assert (outcome.verdict, [each.rule for each in outcome.fired]) == ("worse", ["missed"])
    assert (outcome.lost.lost, outcome.lost.aborts) == (1, 5 * CHATS)  # block 0 is no evidence for either side


@pytest.mark.parametrize("sick_side", ["base", "head"])
def test_one_that_only_an_unwell_block_shows_is_a_doubt_on_either_side(gate: Compared, sick_side: str) -> None:
    for name in ("base", "head"):
        gate.side(name, sick=[0] if name == sick_side else [], lost_in=[0] if name == "head" else [])
    outcome = gate._outcome([], [])
    assert (outcome.verdict, outcome.exit_code, outcome.fired) == ("inconclusive", 3, [])
    assert [each.rule for each in outcome.doubtful] == ["missed"]
    assert "in doubt: no evidence: redis-push in flowing, 2 workers: 1 aborts" in outcome.sentence


def test_a_leak_is_absolute(gate: Compared) -> None:
    gate.side("base", sick=range(3))
    gate.side("head", sick=range(BLOCKS), leaked_in=[3])
    outcome = gate._outcome([], [])
    assert (outcome.verdict, [each.rule for each in outcome.fired]) == ("worse", ["leaked"])


def test_slow_stops_in_unwell_blocks_are_no_slow_stops(gate: Compared) -> None:
    """Half of the blocks under load, and the load met head more often."""
    gate.side("base", stop_ms=[2.0] * 12, sick=[1])
    gate.side("head", stop_ms=[2.0, 9.0] * 6, sick=range(1, 12, 2))
    outcome = gate._outcome([], [])
    assert outcome.verdict == "equivalent"
    assert outcome.blocks == 6
    assert any("left out" in note and "1 of base's and 6 of head's" in note for note in outcome.notes)
    gate.side("head", stop_ms=[9.0] * 12, sick=range(1, 12, 2))
    assert gate._outcome([], []).verdict == "worse"


def test_an_abort_that_a_starved_service_missed_is_a_doubt(gate: Compared) -> None:
    gate.side("base", stood_still_in=[0])
    gate.side("head", lost_in=[0])
    outcome = gate._outcome([], [])
    assert (outcome.verdict, len(outcome.doubtful), outcome.lost.aborts) == ("inconclusive", 1, 5 * CHATS)
    gate.side("base")
    gate.side("head", lost_in=[0], stood_still_in=[0])
    assert gate._outcome([], []).verdict == "inconclusive"
    gate.side("head", lost_in=[0, 3], stood_still_in=[0])
    assert gate._outcome([], []).verdict == "worse"


def test_a_head_that_stands_still_by_itself_is_found_by_its_times(gate: Compared) -> None:
    gate.side("base", stop_ms=[2.0] * BLOCKS)
    gate.side("head", stop_ms=[30.0] * BLOCKS, stood_still_in=range(BLOCKS))
    assert gate._outcome([], []).verdict == "worse"


def test_chats_that_failed_in_an_unwell_block_do_not_spoil_the_others(gate: Compared) -> None:
    gate.side("head")
    gate.side("base", failed_in=[0])
    assert gate._outcome([], []).verdict == "invalid"
    gate.side("base", failed_in=[0], sick=[0])
    assert gate._outcome([], []).verdict == "equivalent"


def test_without_evidence_there_is_no_verdict(gate: Compared) -> None:
    gate.side("base", sick=range(2, BLOCKS))
    gate.side("head", stop_ms=[9.0] * BLOCKS)
    outcome = gate._outcome([], [])
    assert (outcome.verdict, outcome.exit_code) == ("invalid", 2)
    assert (
        "2 of 6 blocks are evidence, a verdict needs 5: the mock upstream could not keep its pace" in outcome.sentence
    )
    gate.side("base", sick=range(BLOCKS))
    assert gate._outcome([], []).verdict == "invalid"


def test_blocks_are_added_for_those_that_are_no_evidence(gate: Compared) -> None:
    gate.side("base")
    gate.side("head")
    assert not gate._could_change(BLOCKS, fit=20)
    gate.side("head", sick=[0, 1])
    assert gate._could_change(BLOCKS, fit=20)
    assert not gate._could_change(BLOCKS, fit=7)  # five of seven is more than four of six promises
    gate.side("base", sick=range(BLOCKS))
    gate.side("head", sick=range(BLOCKS))
    assert not gate._could_change(BLOCKS, fit=20)  # never, at this rate
    assert gate._could_change(2, fit=20)


def test_blocks_are_added_while_it_is_open_whether_head_alone_is_unhealthy(gate: Compared) -> None:
    gate.side("base", stop_ms=[2.0] * 5, sick=[0])
    gate.side("head", stop_ms=[2.0] * 5, sick=range(5))
    assert gate._could_change(5, fit=10)  # 5 of 5 against 1 of 5 is p 0.024; 10 of 10 against 2 of 10 would be enough
    assert not gate._could_change(5, fit=5)
    gate.side("base", stop_ms=[2.0] * 5)
    assert not gate._could_change(5, fit=10)  # p 0.004: decided


def test_other_settings_of_the_services_are_no_ground_for_a_verdict(gate: Compared) -> None:
    gate.side("base", environment={"DRAIN_S": "1"})
    gate.side("head", environment={"DRAIN_S": "2"})
    outcome = gate._outcome([], [])
    assert outcome.verdict == "invalid"
    assert "DRAIN_S is 1 in A, 2 in B" in outcome.sentence


def test_which_code_ran_stands_in_the_verdict(gate: Compared) -> None:
    ran = {"module": "/scratch/base/server/__init__.py", "commit": "0123abcdef", "reported": False}
    gate.side("base", code=ran)
    gate.side("head", code=ran | {"module": "/scratch/head/server/__init__.py", "reported": True})
    outcome = gate._outcome([], [])
    assert outcome.head["module"] == "/scratch/head/server/__init__.py"
    assert outcome.base["reported"] is False
    assert outcome.notes == [
        "base ran /scratch/base/server/__init__.py of 0123abc (not reported by its /healthz: the path that its Python"
        " imports)",
        "head ran /scratch/head/server/__init__.py of 0123abc",
    ]


def test_a_lost_abort_ends_the_measurement_and_a_doubtful_one_does_not(gate: Compared) -> None:
    gate.side("base")
    gate.side("head", lost_in=[0])
    assert not gate._could_change(1, fit=20)
    gate.side("head", lost_in=[0], sick=[0])
    assert gate._could_change(BLOCKS, fit=20)


def test_another_lock_is_a_doubt(gate: Compared) -> None:
    gate.side("base")
    gate.side("head")
    assert gate._outcome([], []).verdict == "equivalent"
    outcome = gate._outcome([], ["requirements.lock differs"])
    assert (outcome.verdict, outcome.sentence.endswith("in doubt: requirements.lock differs)")) == (
        "inconclusive",
        True,
    )
    gate.side("head", stop_ms=[9.0] * BLOCKS)
    assert gate._outcome([], ["requirements.lock differs"]).verdict == "worse"


def test_what_is_left_out_has_no_values_and_no_counts(gate: Compared) -> None:
    gate.side("head", sick=[2], lost_in=[2, 3])
    run = read_run(gate.folder)
    left_out = unwell(run)
    assert list(left_out) == [(PUSH, 2)]
    assert left_of(run, left_out) == {PUSH: 5}
    assert 2 not in block_values(run, left_out)[PUSH, "upstream_stop_ms"]
    judged = judge(None, run, left_out)
    assert ([each.head for each in judged.fired], judged.doubtful) == ([1], [])


def values(**metrics: dict[int, float]) -> dict[tuple[Any, str], dict[int, float]]:
    return {(PUSH, metric): blocks for metric, blocks in metrics.items()}


def test_what_is_counted_once_neither_blocks_a_verdict_nor_passes_unseen() -> None:
    """PostgreSQL's operations are counted in the first block only."""
    ttft = dict.fromkeys(range(5), 100.0)
    base = values(ttft_ms=ttft, store_ops_per_token={0: 0.03})
    same, more = (values(ttft_ms=ttft, store_ops_per_token={0: ops}) for ops in (0.035, 1.03))
    assert [each.metric for each in decide_all(base, same, DEFAULTS)] == ["ttft_ms"]
    (told,) = told_once(base, same, DEFAULTS)
    assert "store_ops_per_token is counted in one block only (0.03 -> 0.035" in told
    found = {each.metric: each.decision.verdict for each in decide_all(base, more, DEFAULTS)}
    assert found == {"ttft_ms": "equivalent", "store_ops_per_token": "inconclusive"}
    assert told_once(base, more, DEFAULTS) == []
    gone = decide_all(base, values(ttft_ms=ttft), DEFAULTS)
    assert [each.decision.verdict for each in gone] == ["equivalent", "inconclusive"]
    first = values(ttft_ms={0: 1.0}, store_ops_per_token={0: 0.03})
    assert len(decide_all(first, first, DEFAULTS)) == 2  # after one block everything has one value
