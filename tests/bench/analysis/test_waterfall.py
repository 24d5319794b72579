"""The parts of a stop add up exactly, whatever order the stamps of three processes came in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.analysis.metrics import ChatMetrics, PartsNs, split_ns
from bench.analysis.reading import CaseKey, Chat
from bench.analysis.summary import summarise
from bench.analysis.waterfall import PARTS, describe_parts, parts_of
from bench.record.manifest import Manifest, ScenarioSettings
from bench.record.schema import ChatRow
from bench.record.summary import Part, Summary, SummaryCase
from bench.report.tables import result_tables
from tests.bench import fake_results as fake
from tests.bench.analysis.test_metrics import MS, stopped
from tests.bench.typed import measure

KEY = CaseKey("redis-push", "flowing", 2, 50)
STAMPS = {
    "abort_received_ns": 76 * MS,
    "abort_recorded_ns": 78 * MS,
    "signal_ns": 81 * MS,
    "upstream_closed_ns": 85 * MS,
}


def stop(**service: int | None) -> dict[str, Any]:
    """Aborted at 75 ms, cut at 93 ms, the client's end at 94 ms."""
    return stopped() | {"service": STAMPS | service}


def split(row: dict[str, Any], **settings: Any) -> PartsNs:
    return split_ns(msgspec.convert(row, ChatRow), ScenarioSettings(**settings))


def test_a_stop_in_order_is_split_at_its_stamps() -> None:
    assert split(stop()) == (1 * MS, 2 * MS, 3 * MS, 4 * MS, 8 * MS, 1 * MS)


def test_a_signal_before_the_store_s_answer_takes_the_overlap() -> None:
    assert split(stop(abort_recorded_ns=84 * MS))[:4] == (1 * MS, 5 * MS, 0, 4 * MS)


def test_a_witness_before_the_close_returned_takes_the_overlap() -> None:
    assert split(stop(upstream_closed_ns=95 * MS))[3:] == (12 * MS, 0, 1 * MS)


def test_a_client_that_saw_the_end_first_gives_a_negative_rest() -> None:
    early = stop()
    early["client"]["end_ns"] = 92 * MS
    assert split(early)[5] == -1 * MS


def test_any_order_of_stamps_adds_up_exactly_and_no_part_of_the_stop_is_negative() -> None:
    rng = random.Random(5)
    for _ in range(500):
        made = stop(**{name: rng.randrange(60 * MS, 120 * MS) for name in STAMPS})
        made["client"]["end_ns"] = rng.randrange(80 * MS, 120 * MS)
        measured = measure(made)
        parts = [part for part in measured.parts_ns or () if part is not None]
        assert len(parts) == len(PARTS)
        assert min(parts[:5]) >= 0
        assert sum(parts[:5]) == 18 * MS == round((measured.upstream_stop_ms or 0) * MS)
        assert sum(parts) == made["client"]["end_ns"] - 75 * MS == round((measured.client_stop_ms or 0) * MS)


def test_a_part_without_both_stamps_is_null() -> None:
    assert split(stop(signal_ns=None)) == (1 * MS, 2 * MS, None, None, 8 * MS, 1 * MS)
    left = stop(abort_received_ns=None, abort_recorded_ns=None, signal_ns=None) | {"strategy": "disconnect"}
    assert split(left) == (None, None, None, None, 8 * MS, None)
    assert split(stopped()) == (None, None, None, None, None, 1 * MS)


def test_means_of_a_case_are_of_the_same_stops_and_add_up() -> None:
    whole, gap = (1 * MS, 2 * MS, 3 * MS, 4 * MS, 8 * MS, 1 * MS), (99 * MS, 2 * MS, None, None, 8 * MS, 1 * MS)
    described = describe_parts([gap, whole, tuple(3 * part for part in whole)])
    assert described is not None
    assert [getattr(described[part], "mean", None) for part in PARTS] == [2, 4, 6, 8, 16, 2]
    assert all(getattr(described[part], "n", None) == 2 for part in PARTS)
    assert getattr(described[PARTS[0]], "p50", 0) is None  # too few


def test_a_part_nobody_has_is_null_and_no_stamps_are_no_waterfall() -> None:
    described = describe_parts([(None, None, None, None, 8 * MS, None)] * 7)
    assert described is not None
    assert described["sent_to_received"] is described["witness_to_client"] is None
    assert described["closed_to_witness"] == Part(n=7, p50=8, mean=8)
    assert describe_parts([]) is None
    assert describe_parts([(None,) * 6]) is None


def test_the_summary_s_waterfall_adds_up_to_its_stop(tmp_path: Path) -> None:
    summary = summarise(
        fake.write(tmp_path, strategies=["redis-push", "disconnect", "none"], scenarios=["flowing"], chats=60)
    )
    by_name = {case["strategy"]: case for case in msgspec.to_builtins(summary.cases)}
    push = by_name["redis-push"]
    means = [push["waterfall"][part]["mean"] for part in PARTS]
    assert sum(means[:5]) == pytest.approx(push["metrics"]["upstream_stop_ms"]["mean"], abs=0.001)
    assert sum(means) == pytest.approx(push["metrics"]["client_stop_ms"]["mean"], abs=0.001)
    assert by_name["disconnect"]["waterfall"]["signal_to_closed"] is None
    assert by_name["none"]["waterfall"] is None


def chats(every: Sequence[PartsNs | None], blocks: int = 1) -> list[Chat]:
    return [
        Chat(KEY, index % blocks, str(index), ChatMetrics("stopped", parts_ns=parts))
        for index, parts in enumerate(every)
    ]


def test_the_parts_add_up_and_those_of_which_one_is_unknown_do_not_count() -> None:
    own = parts_of(chats([(10**6, 2 * 10**6, 0, 10**6, 10**6, -(10**6)), (None, 1, 1, 1, 1, 1), None,
                          (3 * 10**6, 2 * 10**6, 0, 10**6, 10**6, -(10**6))]))  # fmt: skip
    assert own is not None
    assert own.n == 2
    assert [mean.mean for mean in own.each] == [2, 2, 0, 1, 1]
    assert [mean.mean for mean in own.upto] == [2, 4, 4, 5, 6]
    assert own.client is not None
    assert own.client_end is not None
    assert (own.client.mean, own.client.low, own.client_end.mean) == (-1, -1, 5)
    assert parts_of(chats([None])) is None


def test_the_interval_is_over_blocks_where_there_are_enough() -> None:
    """Within a block nothing differs: over single chats the interval would look four times as sure."""
    every = [((block % 6) * 10**6, 0, 0, 0, 10**6, None) for block in range(96)]
    over_blocks, over_chats = parts_of(chats(every, 6)), parts_of(chats(every, 1))
    assert over_blocks is not None
    assert over_chats is not None
    assert over_blocks.client is None
    assert over_blocks.whole.mean == pytest.approx(over_chats.whole.mean)
    widths = [own.whole.high - own.whole.low for own in (over_blocks, over_chats)]
    assert widths[0] > 4 * widths[1]


def test_the_table_has_every_part_with_its_interval() -> None:
    own = parts_of(chats([(10**6, 2 * 10**6, 0, 10**6, 10**6, 10**6), (10**6, 4 * 10**6, 0, 10**6, 10**6, 10**6)]))
    assert own is not None
    summary = Summary(valid=True, cases=[SummaryCase(**KEY._asdict())])
    table, *others = result_tables(summary, {KEY: own}, Manifest())
    assert table.title == "Breakdown of the stop latency"
    (row,) = table.rows
    assert len(row) == len(table.heads) == 9
    assert row[:4] == ("redis-push, flowing (2 w)", "2", "1.00 [1.00 to 1.00]", "3.00 [0 to 15.7]")
    assert row[-2:] == ("6.00 [0 to 18.7]", "1.00 [1.00 to 1.00]")
    assert result_tables(summary, {}, Manifest()) == others
