"""The parts of a stop as means with intervals: of the same chats, so they add up; over blocks if there are enough."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.analysis.metrics import ChatMetrics
from bench.analysis.parts import parts_of
from bench.analysis.reading import CaseKey, Chat
from bench.analysis.waterfall import PartsNs
from bench.record.manifest import Manifest
from bench.record.summary import Summary, SummaryCase
from bench.report.tables import result_tables

KEY = CaseKey("redis-push", "flowing", 2, 50)


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
